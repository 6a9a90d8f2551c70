"""Files that are there in full or not at all."""

import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(file: Path, text: str) -> None:
    """Writes a file that is either there in full or not at all.

    What a killed process was writing of it is removed.
    """
    for torn in file.parent.glob(f"{file.name}.[0-9]*"):
        torn.unlink(missing_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.write_text(text)
    os.replace(part, file)
