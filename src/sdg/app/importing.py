"""Imports: what a config names, and without what nobody asked for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal.utils import _locate  # get_object logs its errors too

from sdg.errors import UserError

__all__ = ["imported", "without_wandb"]


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


def imported(setting: str, name: str) -> Any:
    """What a dotted name of a config means.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return _locate(name)
    except Exception as error:  # whatever the import of the user's module raises
        cause = error.__cause__ or error
        why = " ".join(str(cause).split()).rstrip(".")
        raise UserError(
            f"{setting}={name} cannot be imported: {type(cause).__name__}: {why}."
        ) from error
