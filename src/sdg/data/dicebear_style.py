"""Any DiceBear style whose options have names: its factors follow from its definition."""

import json
import re
import zlib
from itertools import combinations

import numpy as np

from sdg.data.colour_names import basic_colour, distances, skin_tone
from sdg.data.dicebear import credit, definition, render
from sdg.data.dicebear_drawing import Drawing
from sdg.data.dicebear_notes import HEADWEAR, notes_on, words_of
from sdg.data.portrait_factors import CHOICES as AVATAAARS
from sdg.data.portrait_style import Choice, PortraitStyle, Value, shown_by
from sdg.data.portrait_words import Words
from sdg.errors import UserError

__all__ = ["EXAMPLES", "DiceBearStyle"]

EXAMPLES = ("toon-head", "micah", "voxel-art", "open-peeps", "personas", "big-smile")
PAIRS = 8  # of values that no training image shows together
RARE, COMMON = 0.004, 0.1  # shares of all images that such a pair may have
CLASSES = ("expression", "mood", "mouth", "eyes", "hair")  # of which a portrait's class may be
ABSENT = 0.4  # at most so often is a part absent that a style lets be absent
APART = 0.07  # in OKLab: colours of two names that are nearer look alike, so one is left out
NUMBERED = re.compile(r"\d|[a-z][A-Z]$")  # one of several alike, such as hill2 and fabricB


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
        full = definition(name)
        self.name, self.digest = name, zlib.crc32(json.dumps(full, sort_keys=True).encode())
        self.notes = notes_on(name)
        self.drawing, self.fixed = Drawing(full), dict(self.notes.crop)
        self.variant_of: dict[str, list[str]] = {}  # of a component, for each value of its choice
        choices = [
            self.component(key, part)
            for key, part in full["components"].items()
            if "extends" not in part
        ]
        if not any(len(names) > 1 + ("none" in names) for names in values_of(choices).values()):
            raise UserError(
                f"data.style={name}: the options of this style have no names, so nothing of its "
                f"images is known; styles that work: {', '.join(EXAMPLES)}."
            )
        self.colour_keys: dict[str, str] = {}  # {factor: key in the definition}
        choices += [
            self.colour(key, colour["values"])
            for key, colour in full["colors"].items()
            if len(colour["values"]) > 1
        ]
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
        return f"{self.name}-{self.digest:08x}"

    # --- from the definition -----------------------------------------------------------------

    def part(self, key: str) -> str:
        """What a component or colour is called: "facial_hair"."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.notes.parts.get(key, key)).lower()

    def component(self, key: str, part: dict) -> Choice:
        """One choice among the variants of a component, and its absence."""
        variants = {
            name: words_of(name)
            for name, drawing in part["variants"].items()
            if drawing.get("weight", 1) > 0
            and "animation" not in drawing.get("tags", ())
            and name not in self.notes.left_out.get(key, ())
        }
        named = {name: words for name, words in variants.items() if words}
        factor = self.part(key)
        if key in self.notes.absent:
            self.fixed |= {f"{key}Probability": 0}
            self.variant_of[key] = [""]
            return Choice(key, (Value({}, {}, 1),))
        distinct = list(dict.fromkeys(named.values()))
        chance = part.get("probability", 100) / 100
        silent = not distinct or len(distinct) + (chance < 1) < 2
        if silent or key in self.notes.unnamed or NUMBERED.search(key):
            named = dict.fromkeys(variants, "")
            distinct = [""]
        values = []
        for name, words in named.items():
            options = {f"{key}Variant": name, f"{key}Probability": 100}
            weight = 1 / (list(named.values()).count(words) * len(distinct))
            values.append(Value(options, self.shown(factor, words), weight))
        self.variant_of[key] = list(named)
        if chance < 1:
            least = 1 / (1 + len(distinct))
            absent = float(np.clip(1 - chance, least, max(ABSENT, least)))
            values = [value._replace(weight=value.weight * (1 - absent)) for value in values]
            shows = {factor: "none"} if distinct != [""] else {}
            values = [Value({f"{key}Probability": 0}, shows, absent), *values]
            self.variant_of[key] = ["", *named]
        if len(values) == 1:
            self.fixed |= values[0].options
        return Choice(key, tuple(values))

    def shown(self, factor: str, words: str) -> dict:
        """What a variant shows: hair, or the headwear that covers it."""
        if not words:
            return {}
        if factor == "hair" and HEADWEAR & set(words.split()):
            return {"headwear": words}
        return {factor: stripped(words, factor.replace("_", " "))}

    def colour(self, key: str, hexes: list[str]) -> Choice:
        """One choice among the values of a colour."""
        part = self.part(key)
        factor = part if part in ("skin", "background") else f"{part}_colour"
        name_of = skin_tone if part == "skin" else basic_colour
        hexes = legible(hexes, name_of)
        names = [name_of(hex) for hex in hexes]
        if part.endswith("hair"):
            names = ["blond" if name == "yellow" else name for name in names]
        shared = factor in self.colour_keys
        self.colour_keys.setdefault(factor, key)
        silent = shared or key in self.notes.unnamed or NUMBERED.search(key)
        values = [
            Value({f"{key}Color": hex}, {} if silent else {factor: name}, 1 / names.count(name))
            for hex, name in zip(hexes, names, strict=True)
        ]
        return Choice(f"{key}Color", tuple(values))

    def pairs(self, shown: np.ndarray, rng: np.random.Generator) -> tuple:
        """Pairs of values, no two of the same factors, that the name of the style decides.

        Arguments:
            shown: factors of many images, (N, F).
            rng: of the style's name.
        """
        pairs = list(combinations(range(len(self.factors)), 2))
        found: list = []
        for at in rng.permutation(len(pairs)):
            left, right = pairs[at]
            names = [list(self.factors)[k] for k in (left, right)]
            values = [rng.integers(len(self.factors[name])) for name in names]
            words = [self.factors[name][value] for name, value in zip(names, values, strict=True)]
            share = ((shown[:, left] == values[0]) & (shown[:, right] == values[1])).mean()
            if RARE <= share <= COMMON and "none" not in words:
                found.append(tuple(zip(names, words, strict=True)))
        return tuple(found[:PAIRS])

    # --- of rows -----------------------------------------------------------------------------

    def factors_of(self, choices: np.ndarray) -> np.ndarray:
        factors = np.max(
            [table[column] for table, column in zip(self.tables, choices.T, strict=True)], axis=0
        )
        column = {name: factors[:, k] for k, name in enumerate(self.factors)}
        at = {choice.name: choices[:, k] for k, choice in enumerate(self.choices)}
        first = np.zeros(len(choices), int)
        variant = {
            key: np.array(names)[at.get(key, first)] for key, names in self.variant_of.items()
        }
        placed, drawn = self.drawing.seen(variant)
        part_of: dict[str, list[str]] = {}
        for choice in self.choices:
            for factor in {factor for value in choice.values for factor in value.shows}:
                part_of.setdefault(factor, []).append(choice.name)
                if choice.name in placed:
                    values = self.factors[factor]
                    gone = values.index("none") if "none" in values else -1
                    column[factor][~placed[choice.name]] = gone
        for factor, key in self.colour_keys.items():
            if factor not in column or factor == "background":
                continue
            part = factor.removesuffix("_colour")
            owners = part_of.get(part, ()) if part != factor else ()
            used = np.full(len(choices), not owners and ("color", key) in self.drawing.canvas)
            for (component, name), inside in self.drawing.variants.items():
                if ("color", key) in inside and (not owners or component in owners):
                    used |= drawn[component, name]
            if owners:
                values = self.factors[part]
                used &= (column[part] >= 0) & (np.array(values)[column[part]] != "none")
            column[factor][~used] = -1
        for factor, values in self.factors.items():
            for value, words in enumerate(values):
                for hidden in self.notes.hides.get(words, ()):
                    if hidden in column and hidden != factor:
                        column[hidden][column[factor] == value] = -1
        return factors

    def options_of(self, row: np.ndarray) -> dict:
        return self.fixed | super().options_of(row)

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


def stripped(words: str, noun: str) -> str:
    """Words without the noun that they end in: "bowl cut hair" of hair is "bowl cut"."""
    for end in (f" {noun}", f" {noun.split()[-1]}", " beard" if noun == "facial hair" else ""):
        if end and words.endswith(end):
            return words.removesuffix(end)
    return words


def legible(hexes: list[str], name_of) -> list[str]:
    """The colours without those that look like an earlier one of another name."""
    kept: list[str] = []
    for hex in hexes:
        rivals = [other for other in kept if name_of(other) != name_of(hex)]
        if not rivals or distances(hex, rivals).min() >= APART:
            kept.append(hex)
    return kept


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
    values = [
        value._replace(shows={f: v for f, v in value.shows.items() if f in factors})
        for value in choice.values
    ]
    return choice._replace(values=tuple(values))
