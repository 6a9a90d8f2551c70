"""What a DiceBear style's definition decides: its choices, and the names of what they show."""

import json
import re
import zlib
from collections.abc import Callable

import numpy as np

from sdg.data.colour_names import basic_colour, distances, skin_tone
from sdg.data.dicebear import definition
from sdg.data.dicebear_notes import HEADWEAR, notes_on, option_words
from sdg.data.portrait_style import Choice, Value

__all__ = ["Definition"]

ABSENT = 0.4  # at most so often is a part absent that a style lets be absent
APART = 0.07  # in OKLab: colours of two names that are nearer look alike, so one is left out
NUMBERED = re.compile(r"\d|[a-z][A-Z]$")  # one of several alike, such as hill2 and fabricB


class Definition:
    """The choices of a style, named by its definition.

    Arguments:
        name: of the style.

    Attributes:
        components: a choice for each component; `colours`: one for each colour of several values.
        fixed: options of DiceBear that are the same in every portrait.
        variant_of: {component: its variant for each value of its choice}.
        colour_keys: {factor of a colour: the colour's key in the definition}.
    """

    def __init__(self, name: str):
        self.full = definition(name)
        self.notes = notes_on(name)
        self.fixed: dict = dict(self.notes.crop)
        self.variant_of: dict[str, list[str]] = {}
        self.colour_keys: dict[str, str] = {}
        self.components = [
            self.component(key, part)
            for key, part in self.full["components"].items()
            if "extends" not in part
        ]
        self.colours = [
            self.colour(key, colour["values"])
            for key, colour in self.full["colors"].items()
            if len(colour["values"]) > 1
        ]

    @property
    def digest(self) -> int:
        """A number that is another where the definition is."""
        return zlib.crc32(json.dumps(self.full, sort_keys=True).encode())

    def part(self, key: str) -> str:
        """What a component or colour is called: "facial_hair"."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.notes.parts.get(key, key)).lower()

    def component(self, key: str, part: dict) -> Choice:
        """One choice among the variants of a component, and its absence."""
        variants = {
            name: option_words(name)
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
            values.append(Value(options, self.shown_factors(factor, words), weight))
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

    def shown_factors(self, factor: str, words: str) -> dict:
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


def stripped(words: str, noun: str) -> str:
    """Words without the noun that they end in: "bowl cut hair" of hair is "bowl cut"."""
    for end in (f" {noun}", f" {noun.split()[-1]}", " beard" if noun == "facial hair" else ""):
        if end and words.endswith(end):
            return words.removesuffix(end)
    return words


def legible(hexes: list[str], name_of: Callable[[str], str]) -> list[str]:
    """The colours without those that look like an earlier one of another name."""
    kept: list[str] = []
    for hex in hexes:
        others = [other for other in kept if name_of(other) != name_of(hex)]
        if not others or distances(hex, others).min() >= APART:
            kept.append(hex)
    return kept
