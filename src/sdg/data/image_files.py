"""Image files, found and opened; without torch, so that a command looks at them first."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from sdg.data.prompts import absent_image
from sdg.errors import UserError, first_line
from sdg.io.files import UNREADABLE, existing_folder, regular

__all__ = ["SUFFIXES", "image_files", "images_root", "opened_image"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


@contextmanager
def opened_image(file: str | Path, setting: str = "") -> Iterator[Image.Image]:
    """An image file, open; what is wrong with it is said in one line, whenever that shows.

    Arguments:
        setting: that named it, if one did.

    Raises:
        UserError: it is missing, no image, or cannot be read.
    """
    try:
        place = regular(Path(file).expanduser())
        with Image.open(place) as image:
            yield image
    except FileNotFoundError as error:
        raise absent_image(file, setting) from error
    except Exception as error:  # pillow raises many kinds, and struct's of its own
        raise unreadable(file, setting, error) from error


def unreadable(file: str | Path, setting: str, error: Exception) -> UserError:
    """The error of an image file that cannot be read."""
    reasons: dict[type[Exception], str] = {
        UnidentifiedImageError: "it is no image file, such as a PNG or a JPEG",
        PermissionError: UNREADABLE,
        IsADirectoryError: "it is a folder",
    }
    why = reasons.get(type(error)) or first_line(error)
    if setting:
        return UserError(f"{setting}: cannot read {file} as an image: {why}.")
    return UserError(f"cannot read the image {file}: {why}. Remove or replace it.")


def image_files(folder: str | Path) -> list[Path]:
    """Every image file under a folder, in the order of names.

    Hidden ones, such as macOS's ._a.jpg, are left out.
    """
    return sorted(found_images(folder))


def found_images(folder: str | Path) -> Iterator[Path]:
    """The same, one after the other as they are met."""

    def hidden(file: Path) -> bool:
        return any(part.startswith(".") for part in file.relative_to(folder).parts)

    for file in Path(folder).rglob("*"):
        if file.suffix.lower() in SUFFIXES and not file.is_dir() and not hidden(file):
            yield file


def images_root(root: str | Path) -> Path:
    """The folder of `data.root`.

    Raises:
        UserError: it is not there, or holds no image.
    """
    folder = existing_folder("data.root", root)
    if next(found_images(folder), None) is None:
        raise UserError(
            f"data.root: no image in {str(root)!r} (looked for {' '.join(sorted(SUFFIXES))})."
        )
    return folder
