"""Images that are drawn once and then memory-mapped."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sdg.errors import UserError

__all__ = ["rendered"]


def rendered(file: Path | None, draw: Callable[[], np.ndarray]) -> np.ndarray:
    """What `draw` gives, from the file if it is there, else kept in it; None keeps nothing.

    Raises:
        UserError: the file cannot be written.
    """
    if file is not None and file.exists():
        return np.load(file, mmap_mode="r")
    images = draw()
    if file is None:
        return images
    save_atomically(file, images)
    return np.load(file, mmap_mode="r")


def save_atomically(file: Path, array: np.ndarray) -> None:
    """Writes beside the target, then renames: another process sees the whole file or none."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
            np.save(part, array)
        os.replace(part.name, file)
    except OSError as error:
        raise UserError(
            f"cannot write the rendered data to {file.parent}: {error.strerror}. Set data.cache to "
            "a folder that can be written."
        ) from error
