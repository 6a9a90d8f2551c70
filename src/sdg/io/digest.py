"""A digest of weights, wherever they lie."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sdg.io.hub import is_hub_name, located
from sdg.io.shipped import on_this_machine

__all__ = ["content", "tensors_digest"]


def content(path: str) -> str:
    """A digest of a file, or of the files of a folder but for its card.

    It may stand behind `NAME:` or `TAG@` too, or on the hub, whose names stay while what they hold
    changes. Of published weights it is the tag itself.
    """
    place = on_this_machine(path)
    if place is None:
        behind = re.match(r"([^:@/]*[:@])(.*)", str(path), re.DOTALL)
        if behind:
            return f"{behind[1]}{content(behind[2])}"
        return content(str(located(path))) if is_hub_name(path) else str(path)
    digest = hashlib.sha256()
    for file in [place] if place.is_file() else files_of(place):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def files_of(folder: Path) -> list[Path]:
    """The files below a folder but for its card."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix != ".md")


def tensors_digest(tensors: Mapping[str, Tensor], beside: str = "") -> str:
    """A digest of named tensors, 16 letters: the same whatever file they lie in.

    Arguments:
        beside: a text that belongs to them.
    """
    digest = hashlib.sha256(beside.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:16]
