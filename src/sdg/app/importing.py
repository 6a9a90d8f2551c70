"""Imports without what nobody asked for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_wandb"]


@contextmanager
def without_wandb() -> Iterator[None]:
    """timm imports W&B wherever it is installed; that leaves folders in TMPDIR.

    A logger that wants it imports it later.
    """
    if "wandb" in sys.modules:
        yield
        return
    sys.modules["wandb"] = None  # type: ignore[assignment]  # it cannot be imported now
    try:
        yield
    finally:
        del sys.modules["wandb"]
