"""Any DiceBear style whose options have names: its factors follow from its definition."""

import zlib
from itertools import combinations

import numpy as np

from sdg.data.dicebear import credit, render
from sdg.data.dicebear_definition import Definition
from sdg.data.dicebear_drawing import Drawing
from sdg.data.portrait_factors import CHOICES as AVATAAARS
from sdg.data.portrait_style import Choice, PortraitStyle, Value, shown_by
from sdg.data.portrait_words import Words
from sdg.errors import UserError

__all__ = ["EXAMPLES", "DiceBearStyle"]

EXAMPLES = ("toon-head", "micah", "voxel-art", "open-peeps", "personas", "big-smile")
PAIRS = 8  # of values that no training image shows together
RARE, COMMON = 0.004, 0.1  # shares of all images that such a pair may have
CLASSES = ("expression", "mood", "mouth", "eyes", "hair")  # of which a portrait's class may be


class DiceBearStyle(PortraitStyle):
    """The factors of a style's definition.

    A component is a factor if it has two or more named variants, or one and may be absent; its
    absence is the value "none". Numbers at the end of a name are a nuisance, and so is a component
    whose names are numbers alone. A colour of two or more names is a factor: the basic
    name that is nearest, of skin the tone. A factor is −1 where it cannot be seen: a colour that
    nothing shown has, a component that the chosen one around it does not hold.

    Arguments:
        name: of the style.

    Raises:
        UserError: the style has no component with names, or there is no such style.
    """

    def __init__(self, name: str):
        self.name, self.definition = name, Definition(name)
        full = self.definition.full
        self.drawing = Drawing(full)
        choices = self.definition.components
        if not any(len(names) > 1 + ("none" in names) for names in values_of(choices).values()):
            raise UserError(
                f"data.style={name}: the options of this style have no names, so nothing of its "
                f"images is known; styles that work: {', '.join(EXAMPLES)}."
            )
        choices = choices + self.definition.colours
        if len(full["colors"].get("background", {}).get("values", ())) < 2:
            choices.append(AVATAAARS[-1])
        self.choices = tuple(choice for choice in choices if len(choice.values) > 1)
        self.factors = {
            factor: values for factor, values in values_of(self.choices).items() if len(values) > 1
        }
        self.choices = tuple(only(choice, self.factors) for choice in self.choices)
        self.tables = [shown_by(choice, self.factors) for choice in self.choices]
        self.words = Words(self.factors)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        shown = self.factors_of(self.draw(4000, rng))
        always = [f for f, column in zip(self.factors, shown.T, strict=True) if column.min() >= 0]
        self.class_factor = next((f for f in CLASSES if f in always), always[0])
        self.held_out_pairs = self.pairs(shown, rng)

    @property
    def key(self) -> str:
        return f"{self.name}-{self.definition.digest:08x}"

    def pairs(self, shown: np.ndarray, rng: np.random.Generator) -> tuple:
        """Pairs of values, no two of the same factors, that the name of the style decides.

        Arguments:
            shown: factors of many images, (N, F).
            rng: of the style's name.
        """
        pairs = list(combinations(range(len(self.factors)), 2))
        held_out: list[tuple[tuple[str, str], tuple[str, str]]] = []
        for at in rng.permutation(len(pairs)):
            left, right = pairs[at]
            names = [list(self.factors)[k] for k in (left, right)]
            values = [rng.integers(len(self.factors[name])) for name in names]
            words = [self.factors[name][value] for name, value in zip(names, values, strict=True)]
            share = ((shown[:, left] == values[0]) & (shown[:, right] == values[1])).mean()
            if RARE <= share <= COMMON and "none" not in words:
                held_out.append(((names[0], words[0]), (names[1], words[1])))
        return tuple(held_out[:PAIRS])

    # --- of rows -----------------------------------------------------------------------------

    def factors_of(self, choices: np.ndarray) -> np.ndarray:
        factors = np.max(
            [table[column] for table, column in zip(self.tables, choices.T, strict=True)], axis=0
        )
        column = {name: factors[:, k] for k, name in enumerate(self.factors)}
        at = {choice.name: choices[:, k] for k, choice in enumerate(self.choices)}
        first = np.zeros(len(choices), int)
        variant_of = self.definition.variant_of
        variant = {key: np.array(names)[at.get(key, first)] for key, names in variant_of.items()}
        placed, visible = self.drawing.seen(variant)
        part_of: dict[str, list[str]] = {}
        for choice in self.choices:
            for factor in {factor for value in choice.values for factor in value.shows}:
                part_of.setdefault(factor, []).append(choice.name)
                if choice.name in placed:
                    values = self.factors[factor]
                    gone = values.index("none") if "none" in values else -1
                    column[factor][~placed[choice.name]] = gone
        for factor, key in self.definition.colour_keys.items():
            if factor not in column or factor == "background":
                continue
            part = factor.removesuffix("_colour")
            owners = part_of.get(part, ()) if part != factor else ()
            used = np.full(len(choices), not owners and ("color", key) in self.drawing.canvas)
            for (component, name), inside in self.drawing.variants.items():
                if ("color", key) in inside and (not owners or component in owners):
                    used |= visible[component, name]
            if owners:
                values = self.factors[part]
                used &= (column[part] >= 0) & (np.array(values)[column[part]] != "none")
            column[factor][~used] = -1
        for factor, values in self.factors.items():
            for value, words in enumerate(values):
                for hidden in self.definition.notes.hides.get(words, ()):
                    if hidden in column and hidden != factor:
                        column[hidden][column[factor] == value] = -1
        return factors

    def options_of(self, row: np.ndarray) -> dict:
        return self.definition.fixed | super().options_of(row)

    def render(self, choices: np.ndarray, resolution: int) -> np.ndarray:
        return np.stack([render(self.name, self.options_of(row), resolution) for row in choices])

    def describe(self, factors, rng: np.random.Generator, named=None) -> str:
        return self.words.describe(factors, rng, named)

    def all_named(self, caption: str) -> dict[str, set[int]]:
        return self.words.all_named(caption)

    def zero_shot_caption(self, factor: str, value: str) -> str:
        return self.words.zero_shot_caption(factor, value)

    def credits(self) -> list[str]:
        return [credit(self.name)]


def values_of(choices) -> dict[str, tuple[str, ...]]:
    """{factor: all values that the choices show}, in their order."""
    values: dict[str, dict] = {}
    for choice in choices:
        for value in choice.values:
            for factor, name in value.shows.items():
                values.setdefault(factor, {})[name] = None
    return {factor: tuple(names) for factor, names in values.items()}


def only(choice: Choice, factors) -> Choice:
    """The choice, showing these factors alone."""

    def showing(value: Value) -> Value:
        return value._replace(shows={f: v for f, v in value.shows.items() if f in factors})

    return choice._replace(values=tuple(map(showing, choice.values)))
