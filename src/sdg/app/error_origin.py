"""Where an error came from."""

import sysconfig
import traceback
from pathlib import Path

import hydra

from sdg.io.shipped import PACKAGE

__all__ = ["chain_of", "composing", "in_own_code", "of_lightning"]

INSTALLED = {"site-packages", "dist-packages"}  # what a folder of installed libraries is called


def chain_of(error: BaseException) -> list[BaseException]:
    """An error, and those that it came from."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def of_lightning(error: BaseException) -> bool:
    """Whether Lightning itself refuses how it is set, when a run begins."""
    frames = traceback.extract_tb(error.__traceback__)
    refusal = isinstance(error, ValueError) or type(error).__name__ == "MisconfigurationException"
    return refusal and bool(frames) and "pytorch_lightning" in Path(frames[-1].filename).parts


def in_own_code(error: BaseException) -> bool:
    """Whether an error came from code that is neither of this project nor of a library."""
    folders = (PACKAGE, sysconfig.get_path("stdlib"), Path(hydra.__file__).parent)
    known = [Path(folder).resolve() for folder in folders]
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith("<"):  # code that no file holds
            continue
        place = Path(frame.filename).resolve()
        installed = not INSTALLED.isdisjoint(place.parts)
        if not installed and not any(place.is_relative_to(folder) for folder in known):
            return True
    return False


def composing(error: BaseException) -> bool:
    """Whether Hydra stumbled while it put the config together."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).parent.name == "_internal"
