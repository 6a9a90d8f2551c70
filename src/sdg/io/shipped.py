"""The weights that come with this project."""

from pathlib import Path

from sdg.errors import UserError, near

__all__ = ["shipped", "shipped_names"]

INDEX = "pipeline.json"
HERE = Path(__file__).resolve()
# In an installed package beside its modules, in a checkout at its top.
PLACES = (HERE.parents[1] / "weights", HERE.parents[3] / "weights")


def shipped_names() -> list[str]:
    """The names of all that is there."""
    found = [file.parent.name for place in PLACES for file in place.glob(f"*/{INDEX}")]
    return sorted(set(found))


def shipped(name: str) -> Path:
    """The folder of these weights, such as `portraits`.

    Raises:
        UserError: there are none of this name.
    """
    for place in PLACES:
        if (place / name / INDEX).is_file():
            return place / name
    names = shipped_names()
    raise UserError(
        f"there are no shipped weights {name!r}{near(name, names) or '.'} There are: "
        f"{', '.join(names)}."
    )
