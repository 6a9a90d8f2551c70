"""Where examples come from that do not fit one machine, or one list."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Example", "Source"]


class Example(NamedTuple):
    """An image as its file has it, its captions, and its name in its source."""

    file: bytes
    captions: list[str]
    name: str


class Source(ABC):
    """Where examples come from, in parts that are read one after another."""

    parts: Sequence[str]

    @abstractmethod
    def examples(self, part: str) -> Iterator[Example]:
        """The examples of one part, always in the same order, none decoded."""

    def first(self, count: int) -> list[Example]:
        """So many examples, or all."""
        return list(
            itertools.islice(itertools.chain.from_iterable(map(self.examples, self.parts)), count)
        )

    @abstractmethod
    def split(self, held_out: int) -> tuple["Source", list[Example]]:
        """What is left to train on, and that many examples that are not."""
