"""The settings and the weights that come with this project, and where they lie.

In a checkout `conf/` and `weights/` are at its top; in an installed package beside its modules.
"""

from pathlib import Path

from sdg.errors import UserError, near

__all__ = [
    "CHECKOUT",
    "CONF",
    "EARLIER",
    "INDEX",
    "PACKAGE",
    "on_this_machine",
    "program",
    "shipped",
    "shipped_names",
]

INDEX = "pipeline.json"
EARLIER = ".old"  # of a folder that a killed export left half written: what was there before
PACKAGE = Path(__file__).resolve().parents[1]
# The folder of the checkout that this module belongs to; None where the package is installed.
CHECKOUT = None if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1]
HOME = CHECKOUT or PACKAGE
CONF, WEIGHTS = HOME / "conf", HOME / "weights"


def program(name: str) -> str:
    """How the command `name` is started: `python train.py` in a checkout, else `sdg-train`."""
    return f"sdg-{name}" if CHECKOUT is None else f"python {name}.py"


def shipped_names() -> list[str]:
    """The names of all that is there."""
    return sorted(file.parent.name for file in WEIGHTS.glob(f"*/{INDEX}"))


def shipped(name: str) -> Path:
    """The folder of these weights, such as `portraits`.

    Raises:
        UserError: there are none of this name.
    """
    if (WEIGHTS / name / INDEX).is_file():
        return WEIGHTS / name
    names = shipped_names()
    raise UserError(
        f"there are no shipped weights {name!r}{near(name, names) or '.'} There are: "
        f"{', '.join(names)}."
    )


def on_this_machine(path: str | Path) -> Path | None:
    """A file or folder that exists, None where there is none.

    A relative path is looked for from the current folder, and then, if it begins with `weights/`,
    among the shipped weights. A folder that a killed export left half written is its `.old`.

    Raises:
        UserError: it lies in a folder that may not be entered, or is one.
    """
    try:
        return entered(path)
    except PermissionError as error:
        raise UserError(
            f"cannot read {path}: you have no permission to enter it, or a folder above it."
        ) from error


def entered(path: str | Path) -> Path | None:
    """`on_this_machine`, which may raise a PermissionError."""
    place = Path(path).expanduser()
    if place.exists():
        earlier = place / EARLIER
        return earlier if (earlier / "config.json").is_file() else place
    if place.parts[:1] == ("weights",) and (HOME / place).exists():
        return HOME / place
    return None
