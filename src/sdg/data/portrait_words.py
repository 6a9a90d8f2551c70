"""Sentences about what any style of portraits shows, and what a sentence names.

Every value's phrase ends in its part's noun, such as "spiky blue hair", but where the value is
itself a thing: "a blue turban". So a word that several parts share says which one it is of.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sdg.data.sentences import GROUNDS, OPENINGS, PEOPLE, article
from sdg.errors import UserError, near

__all__ = ["GRAMMAR", "Words", "article", "tokens"]

GRAMMAR = (
    "a",
    "an",
    "the",
    "of",
    "on",
    "in",
    "with",
    "and",
    "front",
    "against",
    "who",
    "has",
    "is",
    "wearing",
    "wears",
    "portrait",
    "picture",
    "drawing",
    "person",
    "character",
)
SPELLINGS = {"mustache": "moustache", "gray": "grey", "without": "no", "blonde": "blond"}
NOUNS = {"accessories": "accessory"}
MASS = {"hair", "skin", "headwear", "eyewear", "clothing"}
THINGS = {
    "jacket",
    "shirt",
    "t-shirt",
    "dress",
    "hoodie",
    "coat",
    "suit",
    "overalls",
    "neck",
    "turban",
    "beanie",
    "cap",
    "hat",
    "hijab",
    "sunglasses",
    "glasses",
    "eyepatch",
    "mask",
    "moustache",
    "beard",
    "goatee",
    "crown",
    "bun",
    "buns",
    "bob",
    "afro",
    "mohawk",
    "braids",
    "pigtails",
    "ponytail",
    "bangs",
    "twists",
    "cornrows",
    "blush",
    "freckles",
}


def tokens(caption: str) -> list[str]:
    """The words of a caption in small letters, with one spelling each."""
    given = re.findall(r"[^\W_]+(?:[’'-][^\W_]+)*", caption.lower())
    return [SPELLINGS.get(word, word) for word in given]


class Noun(NamedTuple):
    """A noun, what it names by itself, and what the words before it name."""

    words: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    before: dict[tuple[str, ...], tuple[str, str]]

    def read(self, words: list[str], at: int) -> tuple[int, list[tuple[str, str]]] | None:
        """Where the longest phrase that starts there ends, and what it names."""
        found = []
        if tuple(words[at : at + len(self.words)]) == self.words:
            found.append((at + len(self.words), list(self.names)))
        for phrase, name in self.before.items():
            if tuple(words[at : at + len(phrase)]) == phrase:
                if rest := self.read(words, at + len(phrase)):
                    found.append((rest[0], [name, *rest[1]]))
        # Of phrases as long, the one that reads more words as one value.
        return max(found, key=lambda one: (one[0], -len(one[1])), default=None)


class Words:
    """Captions of portraits with these factors, and what they name.

    Arguments:
        factors: {factor: its values}; "x_colour" is the colour of "x", "none" its absence.
    """

    def __init__(self, factors: Mapping[str, tuple[str, ...]]):
        self.factors = factors
        self.parts: dict[str, list[str]] = {}  # {part: its factors}
        for factor in factors:
            self.parts.setdefault(factor.removesuffix("_colour"), []).append(factor)
        self.noun_of = {part: NOUNS.get(part, part.replace("_", " ")) for part in self.parts}
        self.things = {
            (part, value)
            for part in self.parts
            for value in factors.get(part, ())
            if self.is_thing(part, value)
        }
        self.nouns = list(self.all_nouns())
        phrases = [phrase for noun in self.nouns for phrase in (noun.words, *noun.before)]
        words = {word for phrase in phrases for word in phrase}
        self.known = tuple(sorted({*words, *GRAMMAR, *SPELLINGS}))

    def is_thing(self, part: str, value: str) -> bool:
        """Whether a value is a noun that no other part's phrases may be taken for."""
        if value.split()[-1] not in THINGS or value in self.noun_of.values():
            return False
        phrases = [other for values in self.factors.values() for other in values]
        colours = self.factors.get(f"{part}_colour", ())
        coloured = {f"{colour} {value}" for colour in colours}
        return phrases.count(value) == 1 and not coloured & set(phrases)

    def all_nouns(self) -> Iterator[Noun]:
        for part, factors in self.parts.items():
            colours = self.before(f"{part}_colour") if f"{part}_colour" in factors else {}
            values = self.before(part) if part in factors else {}
            yield Noun(tuple(self.noun_of[part].split()), (), values | colours)
            for value in self.factors.get(part, ()):
                if (part, value) in self.things:
                    yield Noun(tuple(value.split()), ((part, value),), colours)

    def before(self, factor: str) -> dict[tuple[str, ...], tuple[str, str]]:
        """{words before a noun: (factor, value)}."""
        phrases = {tuple(value.split()): (factor, value) for value in self.factors[factor]}
        if ("none",) in phrases:
            phrases["no",] = phrases.pop(("none",))
        if "blond" in self.factors[factor]:
            phrases.setdefault(("yellow",), (factor, "blond"))
        return phrases

    # --- captions ----------------------------------------------------------------------------

    def describe(self, factors, rng: np.random.Generator, named=None) -> str:
        """Such as "a picture of a person with spiky hair and an open jacket and a sad mouth"."""
        there = {
            f: self.factors[f][v] for f, v in zip(self.factors, factors, strict=True) if v >= 0
        }
        if named is None:
            count = rng.integers(1, len(there) + 1)
            named = [list(there)[i] for i in rng.permutation(len(there))[:count]]
        chosen = {factor: value for factor, value in there.items() if factor in named}
        phrases = [self.phrase(part, chosen) for part in self.parts if part != "background"]
        phrases = [phrases[i] for i in rng.permutation(len(phrases)) if phrases[i]]
        sentence = f"{pick(OPENINGS, rng)}a {pick(PEOPLE, rng)}"
        if phrases:
            sentence += pick((" with ", " with ", " who has "), rng) + " and ".join(phrases)
        if "background" in chosen:
            sentence += " " + pick(GROUNDS, rng).format(chosen["background"])
        return article(sentence)

    def phrase(self, part: str, chosen: Mapping[str, str]) -> str:
        """What is said of one part: "spiky blue hair", "no glasses", or nothing."""
        value, colour = chosen.get(part), chosen.get(f"{part}_colour")
        if value is None and colour is None:
            return ""
        if value == "none":
            return f"no {self.noun_of[part]}"
        if (part, value) in self.things:
            words, noun = [colour, value], value
        else:
            words, noun = [value, colour, self.noun_of[part]], self.noun_of[part]
        phrase = " ".join(word for word in words if word)
        return article(f"a {phrase}") if countable(noun) else phrase

    def zero_shot_caption(self, factor: str, value: str) -> str:
        if factor == "background":
            return article(f"a person on a {value} background")
        return f"a person with {self.phrase(factor.removesuffix('_colour'), {factor: value})}"

    # --- what they name ----------------------------------------------------------------------

    def all_named(self, caption: str) -> dict[str, set[int]]:
        """The factors that a caption names and all their values.

        Raises:
            UserError: a word that these captions never use, or one that may be of several parts.
        """
        words, at = tokens(caption), 0
        named: dict[str, set[int]] = {}
        while at < len(words):
            end, names = self.read(caption, words, at)
            for factor, value in names:
                named.setdefault(factor, set()).add(self.factors[factor].index(value))
            at = end
        return named

    def read(self, caption: str, words: list[str], at: int) -> tuple[int, list[tuple[str, str]]]:
        """Where the phrase that starts there ends, and what it names."""
        read = [found for noun in self.nouns if (found := noun.read(words, at))]
        if read:
            return max(read, key=lambda one: one[0])
        if words[at] in GRAMMAR:
            return at + 1, []
        alone = [
            (at + len(phrase), noun, name)
            for noun in self.nouns
            for phrase, name in noun.before.items()
            if tuple(words[at : at + len(phrase)]) == phrase
        ]
        if not alone:
            hint = near(words[at], self.known) or "."
            raise UserError(
                f"the prompt {caption!r} has the word '{words[at]}', which this data "
                f"never uses{hint} Known words: {' '.join(self.known)}."
            )
        longest = max(end for end, _, _ in alone)
        names = {name: noun for end, noun, name in alone if end == longest}
        if len(names) > 1 or words[at] == "no":
            phrase = " ".join(words[at:longest])
            could = [f"'{phrase} {' '.join(noun.words)}'" for noun in names.values()]
            raise UserError(
                f"the prompt {caption!r}: '{phrase}' may be of several parts; "
                f"write {' or '.join(could)}."
            )
        return longest, list(names)


def countable(noun: str) -> bool:
    """Whether "a" goes before the noun."""
    plural = noun.endswith("s") and not noun.endswith("ss")
    return not plural and noun.split()[-1] not in MASS


def pick(options, rng: np.random.Generator) -> str:
    return str(options[rng.integers(len(options))])
