"""The layout and pose of a reference."""

from collections.abc import Sequence

from torch import Tensor

from sdg.similarity.maps import Maps

__all__ = ["Structure"]


class Structure(Maps):
    """Keeps layout and pose: f = the maps themselves, mean over C, H, W.

    It is eq. 10 of Liu et al., WACV 2023 (arXiv 2112.05744).

    Arguments:
        weight, stages, form: as of `Maps`.
    """

    name = "structure"

    def __init__(self, weight: float = 100.0, stages: Sequence[str] = (), form: str = "squared"):
        super().__init__(weight, stages, form)

    @staticmethod
    def default_stage(available: Sequence[str]) -> str:
        return available[(len(available) - 1) // 2]  # about the middle

    def features(self, maps: Tensor) -> Tensor:
        return maps
