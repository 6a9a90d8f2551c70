"""The styles of portraits by name."""

from collections.abc import Sequence
from functools import lru_cache

from sdg.data.avataaars import Avataaars
from sdg.data.dicebear_style import DiceBearStyle
from sdg.data.portrait_style import PortraitStyle
from sdg.data.several_styles import SeveralStyles
from sdg.errors import UserError

__all__ = ["print_credits", "portrait_style"]


def portrait_style(names: str | Sequence[str]) -> PortraitStyle:
    """A style by its name, or several at once.

    Raises:
        UserError: there is no such style, its options have no names, or one is given twice.
    """
    names = (names,) if isinstance(names, str) else tuple(map(str, names))
    if not names:
        raise UserError("data.style is empty; name a style, such as data.style=avataaars.")
    if len(set(names)) < len(names):
        raise UserError(f"data.style=[{','.join(names)}] has a style twice; name each once.")
    return of_names(names)


@lru_cache
def of_names(names: tuple[str, ...]) -> PortraitStyle:
    styles = [Avataaars() if name == Avataaars.name else DiceBearStyle(name) for name in names]
    return styles[0] if len(styles) == 1 else SeveralStyles(styles)


@lru_cache
def print_credits(style: PortraitStyle) -> None:
    """Prints who drew a style, and under which licence; once."""
    from pytorch_lightning.utilities import rank_zero_only  # slow to import

    for line in style.credits():
        rank_zero_only(print)(line)
