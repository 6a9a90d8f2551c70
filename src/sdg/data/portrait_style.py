"""A style of portraits: what it may show, how rows of choices are drawn, and the words for them.

A portrait is a row of choices, one for each entry of `PortraitStyle.choices`. A choice sets options
of DiceBear and says which values of which factors that shows. Several choices may show one value:
what tells them apart is a nuisance that no caption names.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sdg.errors import UserError

__all__ = ["Choice", "PortraitStyle", "Value", "draw_choices", "shown_by"]

TRIES = 64  # rows of choices drawn at once, in search of one that shows what is wanted
ROUNDS = 64  # of such tries, before factors count as impossible together


class Value(NamedTuple):
    """A value of a choice: the options that draw it, the values that it shows, how often."""

    options: dict
    shows: dict
    weight: float


class Choice(NamedTuple):
    """What is decided at once, with its values."""

    name: str
    values: tuple[Value, ...]

    @property
    def possible(self) -> bool:
        """Whether any value can be drawn."""
        return any(value.weight for value in self.values)


def draw_choices(choices: Sequence[Choice], n: int, rng: np.random.Generator) -> np.ndarray:
    """Random rows of C choices, integers, (n, C), each choice independent of the others."""
    columns = []
    for choice in choices:
        weights = np.array([value.weight for value in choice.values], float)
        columns.append(rng.choice(len(weights), n, p=weights / weights.sum()))
    return np.stack(columns, 1)


def shown_by(choice: Choice, factors: Mapping[str, tuple[str, ...]]) -> np.ndarray:
    """The factors that each value of a choice shows, integers, (values, F); −1: not its own."""
    names = list(factors)
    table = np.full((len(choice.values), len(names)), -1)
    for row, value in zip(table, choice.values, strict=True):
        for factor, name in value.shows.items():
            row[names.index(factor)] = factors[factor].index(name)
    return table


class PortraitStyle(ABC):
    """F factors of C choices, images of them and sentences about them.

    Attributes:
        name: of the style; several joined by "+".
        factors: {factor: its values}.
        choices: what is decided for each portrait.
        held_out_pairs: pairs of (factor, value) that no training image shows together.
        class_factor: whose value is a portrait's class.
    """

    name: str
    factors: dict[str, tuple[str, ...]]
    choices: tuple[Choice, ...]
    held_out_pairs: tuple[tuple[tuple[str, str], tuple[str, str]], ...]
    class_factor: str

    @abstractmethod
    def factors_of(self, choices: np.ndarray) -> np.ndarray:
        """The factors that rows of choices, (N, C), show: integers, (N, F), −1: not there."""

    @abstractmethod
    def render(self, choices: np.ndarray, resolution: int) -> np.ndarray:
        """Images of rows of choices, (N, C): uint8, (N, resolution, resolution, 3)."""

    @abstractmethod
    def describe(self, factors, rng: np.random.Generator, named=None) -> str:
        """A caption of F indices, −1 for what is not there.

        Arguments:
            rng: chooses the wording.
            named: names of the factors to mention; by default one to all of those that are there.
        """

    @abstractmethod
    def all_named(self, caption: str) -> dict[str, set[int]]:
        """The factors that a caption names, and all their values.

        Raises:
            UserError: a word that the captions of this style never use.
        """

    @abstractmethod
    def zero_shot_caption(self, factor: str, value: str) -> str:
        """The plainest caption of one value, such as "a person with long hair"."""

    @abstractmethod
    def credits(self) -> list[str]:
        """Style, artist and licence, a line for each style."""

    @property
    def key(self) -> str:
        """The key of cached images; the same choices give other images only under another key."""
        return self.name

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random rows of choices, integers, (n, C)."""
        return draw_choices(self.choices, n, rng)

    def options_of(self, row: np.ndarray) -> dict:
        """The options of DiceBear that draw one row of choices, (C,)."""
        options: dict = {}
        for choice, value in zip(self.choices, row, strict=True):
            options |= choice.values[value].options
        return options

    def shows_held_out(self, factors: np.ndarray) -> np.ndarray:
        """Whether each row of factors, (N, F), shows a pair that is held out: booleans, (N,)."""
        return np.asarray(self.pairs_shown(factors).any(1))

    def pairs_shown(self, factors: np.ndarray) -> np.ndarray:
        """Which of the P held-out pairs each row of factors, (N, F), shows: booleans, (N, P)."""
        names = list(self.factors)
        shown = np.zeros((len(factors), len(self.held_out_pairs)), bool)
        for column, pair in zip(shown.T, self.held_out_pairs, strict=True):
            both = [factors[:, names.index(f)] == self.factors[f].index(v) for f, v in pair]
            column[:] = both[0] & both[1]
        return shown

    def matching(self, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A row of choices, (C,), that shows the wanted factors, (F,), −1 for what chance decides.

        Raises:
            UserError: no portrait of this style shows them together.
        """
        wanted = np.asarray(wanted)
        narrowed = [narrow(c, shown_by(c, self.factors), wanted) for c in self.choices]
        if all(choice.possible for choice in narrowed):
            for _ in range(ROUNDS):
                rows = draw_choices(narrowed, TRIES, rng)
                shown = self.factors_of(rows)
                fits = ((shown == wanted) | (wanted < 0)).all(1)
                if fits.any():
                    return rows[fits.argmax()]
        raise UserError(self.impossible(wanted))

    def impossible(self, wanted: np.ndarray) -> str:
        """That no portrait shows the wanted factors, (F,), in one line."""
        asked = [
            f"{f}={self.factors[f][v]}" for f, v in zip(self.factors, wanted, strict=True) if v >= 0
        ]
        return f"no portrait of style {self.name} shows {', '.join(asked)} together; ask for fewer."


def narrow(choice: Choice, shown: np.ndarray, wanted: np.ndarray) -> Choice:
    """The choice without the values that rule out a wanted factor, (F,).

    Arguments:
        shown: what each value shows, (values, F), −1 for what it leaves open.
    """
    own = (shown >= 0).any(0) & (wanted >= 0)  # a factor that no value shows is not this choice's
    fits = (shown[:, own] == wanted[own]).all(1)
    values = [
        value._replace(weight=value.weight * fit)
        for value, fit in zip(choice.values, fits, strict=True)
    ]
    return choice._replace(values=tuple(values))
