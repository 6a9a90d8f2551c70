"""The classes that data of the framework has, known without making its images."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdg.errors import UserError, near

__all__ = ["class_names", "name_in", "names_in", "unknown_class"]


def class_names(data: Mapping[str, Any]) -> list[str] | None:
    """The classes of held-out images; None where only the images tell.

    Arguments:
        data: the options of a data set, with its `_target_`; each of the right kind.

    Raises:
        UserError: there is no such style of portraits.
    """
    target = data.get("_target_")
    if target == "sdg.data.shapes_data.ShapesData":
        from sdg.data.captions import FACTORS

        return names_in(FACTORS)
    if target == "sdg.data.portraits_data.PortraitsData":
        from sdg.data.portrait_styles import portrait_style

        return names_in(portrait_style(data["style"]).factors)
    if target == "sdg.data.folder_data.FolderData" and data.get("labels") in (True, "folders"):
        root = Path(data["root"]).expanduser()
        return sorted(place.name for place in root.iterdir() if place.is_dir())
    return None


def names_in(factors: Mapping[str, Iterable[str]]) -> list[str]:
    """The values of all factors; "FACTOR: VALUE" of one that several factors have."""
    names = []
    for factor, values in factors.items():
        names += [name_in(factors, factor, value) for value in values]
    return names


def name_in(factors: Mapping[str, Iterable[str]], factor: str, value: str) -> str:
    """A value of a factor; "FACTOR: VALUE" where several factors have it."""
    having = [name for name, values in factors.items() if value in values]
    return f"{factor}: {value}" if len(having) > 1 else value


def unknown_class(name: str, names: Iterable[str]) -> UserError:
    """The error of a class that there is not, or that several factors have."""
    known = list(dict.fromkeys(names))
    several = [f'"{each}"' for each in known if each.endswith(f": {name}")]
    if len(several) > 1:
        return UserError(
            f"similarity.class.name: several factors have a class '{name}'; write "
            f"{', '.join(several[:-1])} or {several[-1]}."
        )
    return UserError(
        f"similarity.class.name: there is no class '{name}'{near(name, known) or '.'} There are: "
        f"{', '.join(known)}."
    )
