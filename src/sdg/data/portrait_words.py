"""Sentences about what any style of portraits shows, and what a sentence names.

Every value's phrase ends in its part's noun, such as "spiky blue hair", but where the value is
itself a thing: "a blue turban". So a word that several parts share says which one it is of.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from sdg.data.portrait_nouns import MASS, NOUNS, THINGS, Noun, tokens
from sdg.data.sentences import (
    GRAMMAR,
    GROUNDS,
    OPENINGS,
    PEOPLE,
    SPELLINGS,
    article,
    pick,
    unknown_word,
)
from sdg.errors import UserError

__all__ = ["Words"]


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
        visible = {
            f: self.factors[f][v] for f, v in zip(self.factors, factors, strict=True) if v >= 0
        }
        if named is None:
            count = rng.integers(1, len(visible) + 1)
            named = [list(visible)[i] for i in rng.permutation(len(visible))[:count]]
        chosen = {factor: value for factor, value in visible.items() if factor in named}
        phrases = [self.phrase(part, chosen) for part in self.parts if part != "background"]
        phrases = [phrases[i] for i in rng.permutation(len(phrases)) if phrases[i]]
        sentence = f"{pick(OPENINGS, rng)}a {pick(PEOPLE, rng)}"
        if phrases:
            sentence += pick((" with ", " with ", " who has "), rng) + " and ".join(phrases)
        if "background" in chosen:
            sentence += " " + pick(GROUNDS, rng).format(chosen["background"])
        return article(sentence)

    def phrase(self, part: str, chosen: Mapping[str, str]) -> str:
        """The words for one part: "spiky blue hair", "no glasses", or nothing."""
        value, colour = chosen.get(part), chosen.get(f"{part}_colour")
        if value is None and colour is None:
            return ""
        if value == "none":
            return f"no {self.noun_of[part]}"
        noun = self.noun_of[part]
        words = [value, colour, noun]
        if value is not None and (part, value) in self.things:
            words, noun = [colour, value], value
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
            end, names = self.parse_phrase(caption, words, at)
            for factor, value in names:
                named.setdefault(factor, set()).add(self.factors[factor].index(value))
            at = end
        return named

    def parse_phrase(
        self, caption: str, words: list[str], at: int
    ) -> tuple[int, list[tuple[str, str]]]:
        """Where the phrase that starts there ends, and what it names."""
        phrases = [phrase for noun in self.nouns if (phrase := noun.parse(words, at))]
        if phrases:
            return max(phrases, key=lambda phrase: phrase[0])
        if words[at] in GRAMMAR:
            return at + 1, []
        alone = [
            (at + len(phrase), noun, name)
            for noun in self.nouns
            for phrase, name in noun.before.items()
            if tuple(words[at : at + len(phrase)]) == phrase
        ]
        if not alone:
            raise unknown_word(caption, words[at], self.known)
        longest = max(end for end, _, _ in alone)
        names = {name: noun for end, noun, name in alone if end == longest}
        if len(names) > 1 or words[at] == "no":
            text = " ".join(words[at:longest])
            could = [f"'{text} {' '.join(noun.words)}'" for noun in names.values()]
            raise UserError(
                f"the prompt {caption!r}: '{text}' may be of several parts; "
                f"write {' or '.join(could)}."
            )
        return longest, list(names)


def countable(noun: str) -> bool:
    """Whether "a" goes before the noun."""
    plural = noun.endswith("s") and not noun.endswith("ss")
    return not plural and noun.split()[-1] not in MASS
