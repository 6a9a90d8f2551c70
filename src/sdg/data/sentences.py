"""How captions are worded, whatever they are about, and how their words are read."""

import re
from collections.abc import Collection, Sequence

import numpy as np

from sdg.errors import UserError, near

__all__ = [
    "FUNCTION_WORDS",
    "GRAMMAR",
    "GROUNDS",
    "OPENINGS",
    "PEOPLE",
    "SPELLINGS",
    "article",
    "photo_of",
    "pick",
    "unknown_word",
    "words_in_caption",
]

FUNCTION_WORDS = ("a", "an", "the", "of", "on", "in", "with", "and", "against", "is")

# Of portraits, in any style.
GRAMMAR = (
    *FUNCTION_WORDS,
    "front",
    "who",
    "has",
    "wearing",
    "wears",
    "portrait",
    "picture",
    "drawing",
    "person",
    "character",
)
SPELLINGS = {"mustache": "moustache", "gray": "grey", "without": "no", "blonde": "blond"}
OPENINGS = ("", "", "", "a portrait of ", "a picture of ", "a drawing of ")
PEOPLE = ("person", "person", "character")
GROUNDS = ("on a {} background", "against a {} background", "in front of a {} background")


def photo_of(name: str) -> str:
    """The plainest caption of a class."""
    return f"a photo of {'an' if name[:1].lower() in tuple('aeiou') else 'a'} {name}"


def article(phrase: str) -> str:
    """The phrase with every "a" and "an" as the next word wants it."""
    return re.sub(r"\ban? (?=(\w))", lambda word: "an " if word[1] in "aeiou" else "a ", phrase)


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """One of some wordings at random."""
    return str(options[int(rng.integers(len(options)))])


def words_in_caption(caption: str) -> list[str]:
    """The words of a caption in small letters; "t-shirt" is one."""
    return re.findall(r"[^\W_]+(?:[’'-][^\W_]+)*", caption.lower())


def unknown_word(caption: str, word: str, known: Collection[str]) -> UserError:
    """The error that a caption has a word which no caption of the data uses.

    Arguments:
        known: the words that they use.
    """
    hint = near(word, known) or "."
    return UserError(
        f"the prompt {caption!r} has the word '{word}', which this data never uses{hint} "
        f"Known words: {' '.join(known)}."
    )
