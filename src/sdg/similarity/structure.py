"""The layout and pose of a reference."""

from collections.abc import Sequence

from torch import Tensor

from sdg.similarity.maps import Maps

__all__ = ["Structure"]


class Structure(Maps):
    """read = the maps themselves, mean over C, H, W (ibid., eq. 10): keeps layout and pose."""

    name = "structure"
    own_weight, own_form = 100.0, "squared"

    @staticmethod
    def stage_among(there: Sequence[str]) -> str:
        return there[(len(there) - 1) // 2]  # about the middle

    def read(self, maps: Tensor) -> Tensor:
        return maps
