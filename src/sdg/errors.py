"""What the user can mend, said in one line."""

import math
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from typing import Any, TypeVar

__all__ = ["UserError", "choice", "first_line", "integer", "near", "number"]

Option = TypeVar("Option")


class UserError(ValueError):
    """Wrong input.

    The message says what is wrong and what to do; entry points print it alone and exit with 1.

    Arguments:
        message: one line.
        parameter: the one that is wrong, where the message begins with its name; the commands put
            its section of the config before it.
    """

    def __init__(self, message: str, parameter: str | None = None):
        super().__init__(message)
        self.parameter = parameter


def integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` if it is an integer in [low, high], else a `UserError` that names the parameter."""
    bounds = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    if (
        isinstance(value, bool)
        or not isinstance(value, Integral)
        or int(value) < low
        or (high is not None and int(value) > high)
    ):
        raise UserError(f"{name} must be {bounds}, not {value!r}.", name)
    return int(value)


def number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a finite float in [low, high], else a `UserError` that names the parameter."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not math.isfinite(as_float(value)):
        raise UserError(f"{name} must be a finite number, not {value!r}.", name)
    if not low <= as_float(value) <= high:
        bounds = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
        raise UserError(f"{name} must be {bounds}, not {value!r}.", name)
    return as_float(value)


def as_float(value: Any) -> float:
    """A real number as a float; infinite where it is beyond them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def near(word: object, words: Iterable[object]) -> str:
    """A hint such as ", did you mean 'circle'?", or an empty string.

    The hint is given when one of `words` is close to `word`.
    """
    from difflib import get_close_matches

    match = get_close_matches(str(word), [str(w) for w in words], n=1, cutoff=0.6)
    return f", did you mean '{match[0]}'?" if match else ""


def choice(name: str, value: Option, options: Collection[Option]) -> Option:
    """`value`, if it is among `options`; 1 is not True.

    Raises:
        UserError: it is not; the message lists them and names the nearest.
    """
    flag = isinstance(value, bool)
    if not any(value == option and flag == isinstance(option, bool) for option in options):
        hint = near(value, options) or "."
        if len(options) > 30:
            raise UserError(
                f"{name}: {value!r} is none of the {len(options)} there are{hint} Such as "
                f"{', '.join(map(str, list(options)[:8]))}, …",
                name,
            )
        words = (
            str(option).lower() if isinstance(option, bool) else str(option) for option in options
        )
        raise UserError(f"{name} must be one of {', '.join(words)}, not {value!r}{hint}", name)
    return value


def first_line(error: BaseException) -> str:
    """What a library says of an error, without the lines that follow and its full stop.

    It is the error's kind where it says nothing.
    """
    return next(iter(str(error).splitlines()), "").rstrip(".") or type(error).__name__
