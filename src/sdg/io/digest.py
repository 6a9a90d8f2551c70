"""A digest of weights, wherever they lie."""

import hashlib
import re

from sdg.io.hub import located, named
from sdg.io.shipped import on_this_machine

__all__ = ["content"]


def content(path: str) -> str:
    """A digest of a file, or of the files of a folder but for its card.

    It may stand behind `NAME:` or `TAG@` too, or on the hub, whose names stay while what they hold
    changes. Of published weights it is the tag itself.
    """
    place, told = on_this_machine(path), hashlib.sha256()
    if place is None:
        name, mark, rest = re.match(r"([^:@/]*)([:@]?)(.*)", str(path), re.DOTALL).groups()
        return (
            f"{name}{mark}{content(rest)}"
            if mark
            else content(str(located(path)))
            if named(path)
            else str(path)
        )
    for file in (
        [place]
        if place.is_file()
        else sorted(file for file in place.rglob("*") if file.is_file() and file.suffix != ".md")
    ):
        told.update(file.read_bytes())
    return told.hexdigest()
