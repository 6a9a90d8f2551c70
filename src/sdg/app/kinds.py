"""What a setting may be: its type and its range, in words and as a test."""

import math
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = [
    "NULL",
    "Called",
    "Choice",
    "Either",
    "Flag",
    "Integer",
    "Kind",
    "ListOf",
    "Number",
    "Section",
    "Text",
    "as_command_line_value",
]


class Kind(ABC):
    """What a setting may be.

    Attributes:
        words: what it is, after "must be".
        options: the words that it may be, for a hint at the nearest.
    """

    words: str
    options: Sequence[Any] = ()

    @abstractmethod
    def takes(self, value: Any) -> bool:
        """Whether a plain value is of this kind."""

    def __or__(self, other: "Kind") -> "Either":
        return Either((self, other))


@dataclass(frozen=True)
class Integer(Kind):
    """An integer in [low, high]."""

    low: int | None = None
    high: int | None = None

    @property
    def words(self) -> str:  # type: ignore[override]
        if self.high is None:
            return "an integer" if self.low is None else f"an integer of at least {self.low}"
        return f"an integer from {self.low} to {self.high}"

    def takes(self, value: Any) -> bool:
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
        )


@dataclass(frozen=True)
class Number(Kind):
    """A finite number in [low, high].

    Arguments:
        above, below: whether low, high is out of range itself.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    @property
    def words(self) -> str:  # type: ignore[override]
        bounds = []
        if (self.low, self.high) == (0, 1) and not (self.above or self.below):
            return "a number from 0 to 1"
        if self.low > -math.inf:
            bounds.append(f"above {self.low:g}" if self.above else f"of at least {self.low:g}")
        if self.high < math.inf:
            bounds.append(f"below {self.high:g}" if self.below else f"at most {self.high:g}")
        return f"a finite number {' and '.join(bounds)}".rstrip()

    def takes(self, value: Any) -> bool:
        return (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and -sys.float_info.max <= value <= sys.float_info.max
            and (value > self.low or (value == self.low and not self.above))
            and (value < self.high or (value == self.high and not self.below))
        )


@dataclass(frozen=True)
class Choice(Kind):
    """One of several values."""

    options: Sequence[Any]

    @property
    def words(self) -> str:  # type: ignore[override]
        listed = ", ".join(dict.fromkeys(map(as_command_line_value, self.options)))
        return listed if len(self.options) == 1 else f"one of {listed}"

    def takes(self, value: Any) -> bool:
        return any(type(value) is type(option) and value == option for option in self.options)


@dataclass(frozen=True)
class Text(Kind):
    """A text.

    Arguments:
        what: it is, in words.
        empty: whether it may be.
        pattern: that it must match, a regular expression.
    """

    what: str = "a text"
    empty: bool = False
    pattern: str = "(?s).*"

    @property
    def words(self) -> str:  # type: ignore[override]
        return self.what

    def takes(self, value: Any) -> bool:
        if not isinstance(value, str) or "\0" in value:
            return False
        return (self.empty or bool(value.strip())) and bool(re.fullmatch(self.pattern, value))


@dataclass(frozen=True)
class ListOf(Kind):
    """A list.

    Arguments:
        of: what its entries are.
        least: how many it has at least.
        length: how many it has; None for any number.
        rising: whether each is above the one before.
    """

    of: Kind
    least: int = 1
    length: int | None = None
    rising: bool = False

    @property
    def words(self) -> str:  # type: ignore[override]
        count = (
            f"{self.length} {'rising ' if self.rising else ''}entries" if self.length else "entries"
        )
        empty = "" if self.least or self.length else ", which may be empty"
        return f"a list [...] of {count}, each {self.of.words}{empty}"

    @property
    def options(self) -> Sequence[Any]:  # type: ignore[override]
        return self.of.options

    def takes(self, value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) >= self.least
            and (self.length is None or len(value) == self.length)
            and all(map(self.of.takes, value))
            and (not self.rising or all(one < other for one, other in pairwise(value)))
        )


@dataclass(frozen=True)
class Section(Kind):
    """Settings with names of their own, {NAME: value}."""

    words = "a section {NAME: value}"

    def takes(self, value: Any) -> bool:
        return isinstance(value, Mapping)


@dataclass(frozen=True)
class Either(Kind):
    """A value of one of several kinds."""

    kinds: tuple[Kind, ...]

    @property
    def words(self) -> str:  # type: ignore[override]
        return ", or ".join(kind.words for kind in self.kinds)

    @property
    def options(self) -> Sequence[Any]:  # type: ignore[override]
        return [option for kind in self.kinds for option in kind.options if option is not None]

    def takes(self, value: Any) -> bool:
        return any(kind.takes(value) for kind in self.kinds)

    def __or__(self, other: Kind) -> "Either":
        return Either((*self.kinds, other))


@dataclass(frozen=True)
class Called(Kind):
    """A kind in other words."""

    words: str
    kind: Kind

    def takes(self, value: Any) -> bool:
        return self.kind.takes(value)


NULL = Choice((None,))
Flag = Called("true or false", Choice((True, False)))


def as_command_line_value(value: Any) -> str:
    """A plain value as a command line has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
