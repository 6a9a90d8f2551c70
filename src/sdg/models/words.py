"""The words that an encoder knows."""

import re
from collections.abc import Iterable, Sequence

from sdg.errors import UserError, near

__all__ = ["Words", "vocabulary"]

SHOWN = 100  # words that a message lists
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words_in_sentence(sentence: str) -> list[str]:
    return WORD.findall(sentence.lower())


def vocabulary(sentences: Iterable[str]) -> list[str]:
    """All their words."""
    return sorted({word for sentence in sentences for word in words_in_sentence(sentence)})


class UnknownWord(UserError):
    """A sentence has a word that its encoder does not know."""


class Words:
    """A vocabulary, its words numbered from 1.

    Arguments:
        words: of the vocabulary.
        context_length: tokens of the longest sentence, start and end included.
    """

    def __init__(self, words: Sequence[str], context_length: int):
        self.index = {word: i for i, word in enumerate(words, 1)}
        self.context_length = context_length

    def known(self) -> str:
        """What it knows, in a sentence, not too long."""
        words = list(self.index)
        if len(words) <= SHOWN:
            return f"It knows: {' '.join(words)}."
        some = " ".join(words[:: len(words) // 20][:20])
        return (
            f"It knows {len(words)} words, such as {some}; `sdg-checkpoints inspect` of its "
            "weights lists them."
        )

    def word_numbers(self, sentence: str) -> list[int]:
        """The numbers of a sentence's words.

        Raises:
            UserError: it is empty, has an unknown word, or too many words.
        """
        words = words_in_sentence(sentence)
        if not words:
            raise UserError("a prompt is empty, or has no word; write what the image shall show.")
        for word in words:
            if word not in self.index:
                raise UnknownWord(
                    f"the encoder does not know the word '{word}' of "
                    f"{sentence!r}{near(word, self.index) or '.'} {self.known()} Another CLIP "
                    "knows others."
                )
        if len(words) > self.context_length - 2:
            raise UserError(
                f"the prompt {sentence!r} has {len(words)} words; the encoder takes at most "
                f"{self.context_length - 2}."
            )
        return [self.index[word] for word in words]
