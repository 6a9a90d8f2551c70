"""A folder belongs to one run at a time."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["CLAIM", "claim", "claimed"]

CLAIM = ".running"  # the file in a run's folder, while the run is at work


def claim(folder: Path) -> int | None:
    """Takes a folder for this process, until it ends, however it ends; None where another has it.

    The system forgets a lock with its process, so that a killed run leaves none. A fork has no part
    in it, so that a worker of a killed run does not keep it.

    Returns: the open file that is locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(folder / CLAIM, os.O_RDWR | os.O_CREAT, 0o666)
        if not locked(file):
            os.close(file)
            return None
        if is_there(folder / CLAIM, file):
            return file
        os.close(file)  # its owner has just removed it


def locked(file: int) -> bool:
    """Whether this process has the lock now, or needs none where there are no locks."""
    try:
        if fcntl is not None:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        pass
    return True


def is_there(place: Path, file: int) -> bool:
    """Whether an open file is the one at this place."""
    try:
        return os.path.samestat(os.stat(place), os.fstat(file))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def claimed(folder: Path, file: int) -> Iterator[None]:
    """Gives a claimed folder free at the end."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / CLAIM).unlink()
        os.close(file)
