"""What comes of a command under attack, run in a fork of this process."""

import re
from collections.abc import Callable
from pathlib import Path

from killing import ended, fork

SECONDS = 120  # after which a command hangs; the machine may be busy


def outcome(function: Callable[[], object], log: Path, marker: Path | None = None) -> str:
    """What came of a call: one of the tally's words, or "accepted" where it simply went through.

    Arguments:
        log: where it prints.
        marker: a file that appears if somebody's code is run.
    """
    code = ended(fork(function, log), SECONDS)
    text = log.read_text(errors="replace")
    if marker is not None and marker.exists():
        marker.unlink()
        return "code executed"
    if code is None:
        return "hang"
    if "Traceback" in text or code not in (0, 1):
        return "traceback"
    if code == 0:
        return "accepted"
    return "clear line" if len(errors(text)) == 1 else "traceback"


def errors(text: str) -> list[str]:
    """The lines of an output that begin with "error: "."""
    return re.findall(r"^error: \S.*$", text, re.MULTILINE)
