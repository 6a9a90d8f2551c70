"""Files that are there in full or not at all."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sdg.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNREADABLE = "you have no permission to read it"

__all__ = [
    "UNREADABLE",
    "existing_folder",
    "part_of",
    "regular",
    "remove_dead_parts",
    "sha256_of",
    "write_whole",
]


def regular(file: str | Path) -> Path:
    """A file of the user's that may be opened: no pipe and no device, which may never end.

    It is opened here: safetensors says of one that may not be read that it is not there.

    Raises:
        OSError: it is one, nothing is there, or it may not be read.
    """
    mode = Path(file).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a folder is an error anyway
        raise OSError(errno.EINVAL, "it is a pipe or a device, no file", str(file))
    if stat.S_ISREG(mode):
        try:
            open(file, "rb").close()
        except PermissionError as error:
            raise PermissionError(errno.EACCES, UNREADABLE, str(file)) from error
    return Path(file)


def existing_folder(setting: str, path: str | Path) -> Path:
    """The folder that a setting names.

    Raises:
        UserError: it is not there.
    """
    folder = Path(str(path)).expanduser()
    if not folder.is_dir():
        raise UserError(f"{setting}: there is no folder {str(path)!r}; set {setting}=PATH.")
    return folder


@contextmanager
def part_of(file: str | Path) -> Iterator[Path]:
    """The place beside a file where it is written first; it becomes the file at the end.

    The part lies in the file's own folder, never in TMPDIR, so that it is renamed in one move and a
    full TMPDIR is nothing to it. It has the permissions of the user's umask. After an error it is
    removed, and the file is what it was. What a killed process was writing of the file is removed.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    remove_dead_parts(file)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    with open(part, "wb") as held:
        lock(held.fileno())
        try:
            yield part
            os.replace(part, file)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def remove_dead_parts(file: Path) -> None:
    """Removes what a killed process has left of a file: a part that nobody has locked."""
    for part in file.parent.glob(f"{glob_escaped(file.name)}.*.part"):
        with suppress(OSError), open(part, "rb+") as held:
            if lock(held.fileno()):
                part.unlink()


def glob_escaped(name: str) -> str:
    """A name as a pattern that only it fits."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def lock(file: int) -> bool:
    """Locks an open file until it is closed; whether that could be done.

    The system forgets a lock with its process, however that ends.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system has no locks
        return False
    return True


def write_whole(file: Path, text: str) -> None:
    """Writes a file that is either there in full or not at all."""
    with part_of(file) as part:
        part.write_text(text, encoding="utf-8")


def sha256_of(file: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(file, "rb") as held:
        while block := held.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
