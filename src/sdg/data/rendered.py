"""Images that are drawn once and then memory-mapped."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sdg.errors import UserError
from sdg.io.files import part_of, regular

__all__ = ["rendered"]

DIGEST = 4  # bytes of CRC-32, behind what they are of
BLOCK = 1 << 24  # bytes read at once


def rendered(file: Path | None, count: int, draw: Callable[[], np.ndarray]) -> np.ndarray:
    """What `draw` gives, from the file if that holds it, else kept in it; None keeps nothing.

    A file is an array of numpy's and its digest. One that is damaged is drawn anew, and a line
    says so.

    Arguments:
        count: how many rows it has.

    Raises:
        UserError: the file cannot be written.
    """
    if file is not None and file.exists():
        if is_whole(file):
            kept = np.load(file, mmap_mode="r")
            if len(kept) == count:
                return kept
        print(f"{file} is damaged, or of an earlier version; it is drawn anew.", flush=True)
    images = draw()
    if file is None:
        return images
    keep(file, images)
    return np.load(file, mmap_mode="r")


def keep(file: Path, array: np.ndarray) -> None:
    """Writes an array and its digest: another process sees the whole file or none."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part_of(file) as part:
            with open(part, "wb") as held:
                np.save(held, array)
            digest = crc32(part, part.stat().st_size)
            with open(part, "ab") as held:
                held.write(digest)
    except OSError as error:
        raise UserError(
            f"cannot write the rendered data to {file.parent}: {error.strerror}. Make room, or set "
            "data.cache to a folder that can be written."
        ) from error


def is_whole(file: Path) -> bool:
    """Whether a file is as it was written, by its digest."""
    try:
        size = file.stat().st_size - DIGEST
        with open(regular(file), "rb") as held:
            held.seek(max(0, size))
            return size > 0 and held.read() == crc32(file, size)
    except OSError:
        return False


def crc32(file: Path, size: int) -> bytes:
    """The CRC-32 of a file's first bytes: 0.7 s for a gigabyte, where SHA-256 takes 1.4 s."""
    digest = 0
    with open(file, "rb") as held:
        while size and (block := held.read(min(size, BLOCK))):
            digest, size = zlib.crc32(block, digest), size - len(block)
    return digest.to_bytes(DIGEST, "big")
