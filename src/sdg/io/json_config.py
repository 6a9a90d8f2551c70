"""Configs as diffusers and transformers write them: one JSON object a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from sdg.errors import UserError
from sdg.io.files import regular

__all__ = ["json_config", "required"]

WORDS: dict[type, str] = {
    int: "an integer above 0",
    str: "a text",
    list: "a list",
    dict: "an object",
}

Value = TypeVar("Value")


def json_config(file: Path) -> dict[str, Any]:
    """The settings of a config.

    Raises:
        UserError: it cannot be read, or holds something else than settings.
    """
    try:
        config = json.loads(regular(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON ({error}).") from error
    if not isinstance(config, dict):
        raise UserError(f"{file} holds no settings, but a {type(config).__name__}.")
    return config


def required(config: Mapping[str, Any], name: str, kind: type[Value], file: Path) -> Value:
    """A setting that must be there.

    Arguments:
        kind: of its value, one of `WORDS`.
        file: of the config, for messages.

    Raises:
        UserError: it is missing, or of another kind.
    """
    value = config.get(name)
    below = isinstance(value, int) and value < 1  # of sizes, as every integer that is asked for
    if not isinstance(value, kind) or isinstance(value, bool) or below:
        what = f"{name}={value!r}" if name in config else f"no {name}"
        raise UserError(f"{file} is damaged: it has {what}, and needs {WORDS[kind]} there.")
    return value
