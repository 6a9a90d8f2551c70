"""Several styles at once: the union of their factors, and a factor "artist"."""

import re
from collections.abc import Sequence

import numpy as np

from sdg.data.portrait_nouns import tokens
from sdg.data.portrait_style import PortraitStyle
from sdg.data.sentences import GRAMMAR
from sdg.errors import UserError, near

__all__ = ["SeveralStyles"]

ARTIST = "artist"
BY = ("by {}", "drawn by {}", "in the style of {}")
NAMED = re.compile(
    r"\s*\b(?:drawn\s+by|by|in\s+the\s+style\s+of)\s+([\w-]+(?:\s+and\s+by\s+[\w-]+)*)"
)


class SeveralStyles(PortraitStyle):
    """Portraits by several artists, each as often.

    A row of choices is the artist's index and the choices of that style, filled up with −1.
    A factor is −1 where the style lacks it. Factors, and values, of one name are one.

    Arguments:
        styles: two or more.
    """

    class_factor = ARTIST

    def __init__(self, styles: Sequence[PortraitStyle]):
        self.styles = tuple(styles)
        self.name = "+".join(style.name for style in styles)
        values: dict[str, dict] = {ARTIST: dict.fromkeys(style.name for style in styles)}
        for style in styles:
            for factor, names in style.factors.items():
                values.setdefault(factor, {}).update(dict.fromkeys(names))
        self.factors = {factor: tuple(names) for factor, names in values.items()}
        self.choices = ()
        self.held_out_pairs = tuple(dict.fromkeys(p for s in styles for p in s.held_out_pairs))
        columns = {factor: column for column, factor in enumerate(self.factors)}
        self.columns = [list(map(columns.__getitem__, style.factors)) for style in styles]
        self.places = [self.places_of(style) for style in styles]
        self.width = 1 + max(len(style.choices) for style in styles)

    def places_of(self, style: PortraitStyle) -> list[np.ndarray]:
        """For each factor of a style, the index of each of its values here; −1 stays −1."""
        return [
            np.array([*map(self.factors[factor].index, names), -1])
            for factor, names in style.factors.items()
        ]

    @property
    def key(self) -> str:
        return "+".join(style.key for style in self.styles)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        rows = np.full((n, self.width), -1)
        rows[:, 0] = rng.integers(len(self.styles), size=n)
        for artist, style in enumerate(self.styles):
            choices, own = style.draw(n, rng), rows[:, 0] == artist
            rows[own, 1 : 1 + choices.shape[1]] = choices[own]
        return rows

    def own(self, rows: np.ndarray, artist: int) -> tuple[np.ndarray, np.ndarray]:
        """Which rows one artist drew, booleans (N,), and the choices of those in his style."""
        mask = rows[:, 0] == artist
        return mask, rows[mask, 1 : 1 + len(self.styles[artist].choices)]

    def factors_of(self, choices: np.ndarray) -> np.ndarray:
        factors = np.full((len(choices), len(self.factors)), -1)
        factors[:, 0] = choices[:, 0]
        for artist, style in enumerate(self.styles):
            mask, rows = self.own(choices, artist)
            for column, place, shown in zip(
                self.columns[artist],
                self.places[artist],
                style.factors_of(rows).T,
                strict=True,
            ):
                factors[mask, column] = place[shown]
        return factors

    def render(self, choices: np.ndarray, resolution: int) -> np.ndarray:
        images = np.empty((len(choices), resolution, resolution, 3), np.uint8)
        for artist, style in enumerate(self.styles):
            mask, rows = self.own(choices, artist)
            if mask.any():
                images[mask] = style.render(rows, resolution)
        return images

    def options_of(self, row: np.ndarray) -> dict:
        style = self.styles[row[0]]
        return style.options_of(row[1 : 1 + len(style.choices)])

    def matching(self, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        wanted = np.asarray(wanted)
        for artist in rng.permutation(len(self.styles)):
            theirs = self.in_style(wanted, artist)
            if wanted[0] not in (-1, artist) or theirs is None:
                continue
            try:
                row = self.styles[artist].matching(theirs, rng)
            except UserError:
                continue
            return np.array([artist, *row, *[-1] * (self.width - 1 - len(row))])
        raise UserError(self.impossible(wanted))

    def in_style(self, factors: np.ndarray, artist: int) -> np.ndarray | None:
        """Factors, (F,), as indices of one style; None where it lacks one of them."""
        columns, places = self.columns[artist], self.places[artist]
        if (np.delete(factors, [0, *columns]) >= 0).any():
            return None
        theirs = [
            np.flatnonzero(place[:-1] == factors[column]) if factors[column] >= 0 else [-1]
            for column, place in zip(columns, places, strict=True)
        ]
        return None if any(len(at) == 0 for at in theirs) else np.array([at[0] for at in theirs])

    # --- words -------------------------------------------------------------------------------

    def describe(self, factors, rng: np.random.Generator, named=None) -> str:
        factors = np.asarray(factors)
        if named is None:
            visible = [
                factor for factor, value in zip(self.factors, factors, strict=True) if value >= 0
            ]
            count = rng.integers(1, len(visible) + 1)
            named = [visible[i] for i in rng.permutation(len(visible))[:count]]
        caption = self.styles[factors[0]].describe(self.in_style(factors, factors[0]), rng, named)
        if ARTIST in named:
            caption += " " + BY[rng.integers(len(BY))].format(self.factors[ARTIST][factors[0]])
        return caption

    def zero_shot_caption(self, factor: str, value: str) -> str:
        if factor == ARTIST:
            return f"a person drawn by {value}"
        style = next(style for style in self.styles if value in style.factors.get(factor, ()))
        return style.zero_shot_caption(factor, value)

    def all_named(self, caption: str) -> dict[str, set[int]]:
        """What a caption names to its artist's style, else to every style that can read it.

        Raises:
            UserError: no style can, or the artist is none of these.
        """
        artists = [
            name
            for match in NAMED.finditer(caption.lower())
            for name in re.split(r"\s+and\s+by\s+", match[1])
        ]
        for name in artists:
            if name not in self.factors[ARTIST]:
                raise UserError(
                    f"the prompt {caption!r} is by '{name}', which this data does not "
                    f"have{near(name, self.factors[ARTIST]) or '.'} It has: "
                    f"{', '.join(self.factors[ARTIST])}."
                )
        named = {ARTIST: {self.factors[ARTIST].index(name) for name in artists}} if artists else {}
        rest = NAMED.sub("", caption.lower())
        if not set(tokens(rest)) - set(GRAMMAR):
            return named
        theirs = [style for style in self.styles if style.name in artists]
        others = [style for style in self.styles if style.name not in artists]
        refused: list[UserError] = []
        for styles in (theirs, others):
            named_in_styles: list[dict] = []
            for style in styles:
                try:
                    named_in_styles.append(self.named_in_style(style, rest))
                except UserError as error:
                    refused.append(error)
            if named_in_styles:
                return named | merged(named_in_styles)
        raise refused[0]

    def named_in_style(self, style: PortraitStyle, caption: str) -> dict[str, set[int]]:
        """What a caption names to one style, as indices of the union."""
        named = {}
        for factor, values in style.all_named(caption).items():
            names = [style.factors[factor][value] for value in values]
            named[factor] = set(map(self.factors[factor].index, names))
        return named

    def credits(self) -> list[str]:
        return [line for style in self.styles for line in style.credits()]


def merged(named: Sequence[dict[str, set[int]]]) -> dict[str, set[int]]:
    """The union of what several name."""
    union: dict[str, set[int]] = {}
    for one in named:
        for factor, values in one.items():
            union[factor] = union.get(factor, set()) | values
    return union
