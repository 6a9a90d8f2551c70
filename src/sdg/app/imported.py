"""What the dotted names of a config mean."""

from typing import Any

from hydra._internal.utils import _locate  # get_object logs its errors too

from sdg.errors import UserError

__all__ = ["imported"]


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
