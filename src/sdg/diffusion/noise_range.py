"""The place of a level in the noise range, and intervals of it."""

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

from sdg.errors import UserError, number

__all__ = ["checked_interval", "noise_fraction"]


Level = TypeVar("Level", float, Tensor)


def noise_fraction(t: Level, T: int) -> Level:
    """u = t/(T−1), the place of a level in the noise range, or of several levels."""
    return t / max(1, T - 1)


def checked_interval(name: str, interval: Sequence[float]) -> tuple[float, float]:
    """An interval of the noise range, the parameter `name`.

    Raises:
        UserError: it is none.
    """
    try:
        low, high = interval
    except (TypeError, ValueError):
        raise UserError(
            f"{name} must be two fractions of the noise range, such as [0.2,0.9], not "
            f"{interval!r}.",
            name,
        ) from None
    low, high = number(name, low, 0, 1), number(name, high, 0, 1)
    if low >= high:
        raise UserError(
            f"{name}=[{low:g},{high:g}] is empty: the first fraction must be below the second.",
            name,
        )
    return low, high
