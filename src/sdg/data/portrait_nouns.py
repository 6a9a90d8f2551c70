"""The nouns of captions of portraits, and the words that may stand before each."""

from typing import NamedTuple

from sdg.data.sentences import SPELLINGS, words_in_caption

__all__ = ["MASS", "NOUNS", "THINGS", "Noun", "tokens"]

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
    return [SPELLINGS.get(word, word) for word in words_in_caption(caption)]


class Noun(NamedTuple):
    """A noun, what it names by itself, and what the words before it name."""

    words: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    before: dict[tuple[str, ...], tuple[str, str]]

    def parse(self, words: list[str], at: int) -> tuple[int, list[tuple[str, str]]] | None:
        """Where the longest phrase that starts there ends, and what it names."""
        phrases: list[tuple[int, list[tuple[str, str]]]] = []
        if tuple(words[at : at + len(self.words)]) == self.words:
            phrases.append((at + len(self.words), list(self.names)))
        for phrase, name in self.before.items():
            if tuple(words[at : at + len(phrase)]) == phrase:
                if rest := self.parse(words, at + len(phrase)):
                    phrases.append((rest[0], [name, *rest[1]]))
        # Of phrases as long, the one that takes more words for one value.
        return max(phrases, key=lambda one: (one[0], -len(one[1])), default=None)
