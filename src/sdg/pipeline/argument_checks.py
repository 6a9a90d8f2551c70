"""An argument of a pipeline as what it must be, or one line that says what is wrong with it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from sdg.errors import UserError, first_line, near, number

__all__ = [
    "checked_captions",
    "checked_device",
    "checked_function",
    "checked_kind",
    "checked_path",
    "checked_weights",
]

Part = TypeVar("Part")
Function = TypeVar("Function", bound=Callable[..., Any])


def checked_kind(name: str, value: Part, kind: type[Any]) -> Part:
    """`value`, if it is of this kind.

    Raises:
        UserError: it is not.
    """
    if not isinstance(value, kind):
        raise UserError(f"{name} must be a {kind.__module__}.{kind.__name__}, not {value!r}.")
    return value


def checked_function(name: str, function: Function, *arguments: str) -> Function:
    """The function, if it can be called with these arguments.

    Raises:
        UserError: it is none, or takes fewer or more.
    """
    form = f"a function of ({', '.join(arguments)})"
    if not callable(function):
        raise UserError(f"{name} must be {form}, not {function!r}.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some that are written in C
        return function
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise UserError(f"{name} must be {form}, but it takes {signature}.") from error
    return function


def checked_device(name: str | torch.device) -> torch.device:
    """The device of this name.

    Raises:
        UserError: torch knows none, or this machine has none.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        why = first_line(error).partition(". ")[0]
        raise UserError(f"there is no device {name!r} here: {why}.") from error
    return device


def checked_path(name: str, path: str | Path) -> Path:
    """The path, with ~ expanded.

    Raises:
        UserError: it is none, or empty.
    """
    if not isinstance(path, (str, Path)) or not str(path):
        raise UserError(f"{name} must be the name or the path of a folder, not {path!r}.")
    return Path(path).expanduser()


def checked_captions(captions: Sequence[str]) -> list[str]:
    """Negative captions as a list.

    Raises:
        UserError: they are something else, such as one sentence; or one has several lines.
    """
    listed = isinstance(captions, Sequence) and not isinstance(captions, str)
    for each in captions if listed else [None]:
        if not isinstance(each, str):
            given = captions if each is None else each
            raise UserError(f"negative_captions must be a list of sentences, not {given!r}.")
        if not set("\n\r").isdisjoint(each):
            raise UserError(f"negative_captions must be of one line each, not {each!r}.")
    return list(captions)


def checked_weights(weights: Mapping[str, float] | None, kinds: Sequence[str]) -> dict[str, float]:
    """{similarity: weight} of some of the pipeline's own similarities.

    Arguments:
        kinds: those that are asked for.

    Raises:
        UserError: a weight of another one, or one that is no number.
    """
    if not isinstance(weights, (Mapping, type(None))):
        raise UserError(f"weights must be {{similarity: weight}}, not {weights!r}.")
    checked = {}
    for name, weight in (weights or {}).items():
        if not kinds:
            raise UserError(f"weights: {name!r} has a weight, and no similarity is asked for.")
        if name not in kinds:
            raise UserError(
                f"weights: this call asks for no {name!r}{near(name, kinds) or '.'} It asks for "
                f"{', '.join(kinds)}."
            )
        checked[name] = number(f"weights[{name!r}]", weight)
    return checked
