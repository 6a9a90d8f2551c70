"""The texture and colour of a reference."""

from collections.abc import Sequence

from torch import Tensor

from sdg.errors import choice
from sdg.similarity.maps import Maps

__all__ = ["Style", "gram", "log_energies"]

FLOOR = 0.01  # ε of `log_energies`


class Style(Maps):
    """Keeps texture and colour, frees layout, by one of two statistics of the maps F.

        gram       f = G(F), mean over C² (Liu et al., WACV 2023, eq. 11)
        energies   f = log(e + ε ē), mean over C, of each channel's energy
                   e_c = mean of F_c² over all places;   ē = mean_c e_c,   ε = 0.01

    In the Gram matrix a few strong channels outweigh the others; with the logarithm every channel
    counts alike.

    Arguments:
        weight, stages, form: as of `Maps`.
        statistics: `gram` or `energies`.
    """

    name = "style"

    def __init__(
        self,
        weight: float = 1.5,
        stages: Sequence[str] = (),
        form: str = "log",
        statistics: str = "gram",
    ):
        super().__init__(weight, stages, form)
        self.statistics = choice("statistics", statistics, ("gram", "energies"))

    @staticmethod
    def default_stage(available: Sequence[str]) -> str:
        return available[0]

    def features(self, maps: Tensor) -> Tensor:
        return gram(maps) if self.statistics == "gram" else log_energies(maps)


def log_energies(maps: Tensor) -> Tensor:
    """log(e + ε ē) of each image by itself, (B, C).

    The maps are (B, C, H, W) or (B, C, places). ε keeps a channel that is all but silent from
    counting.
    """
    e = maps.square().mean(tuple(range(2, maps.ndim)))
    return (e + FLOOR * e.mean(1, keepdim=True)).log()


def gram(maps: Tensor) -> Tensor:
    """G(F) = F Fᵀ/(C·H·W) of each image by itself, (B, C, C).

    The maps are (B, C, H, W) or (B, C, places).
    """
    f = maps.flatten(2)
    return f @ f.transpose(1, 2) / (f.shape[1] * f.shape[2])
