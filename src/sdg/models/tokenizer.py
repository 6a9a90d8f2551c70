"""Sentences to integers, for encoders that know a few words."""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sdg.errors import UserError, near

__all__ = ["WordTokenizer", "vocabulary"]

SHOWN = 100  # words that a message lists
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words_of(sentence: str) -> list[str]:
    return WORD.findall(sentence.lower())


def vocabulary(sentences: Iterable[str]) -> list[str]:
    """All their words."""
    return sorted({word for sentence in sentences for word in words_of(sentence)})


class WordTokenizer:
    """One token a word: 0 pads, 1 … n are the words, n + 1 starts and n + 2 ends a sentence.

    Arguments:
        words: the vocabulary; travels with the encoder's weights.
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

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Tokens, int64, shape (N, context_length).

        Raises:
            UserError: an empty sentence, an unknown word, or too many words.
        """
        rows = []
        for sentence in sentences:
            words = words_of(sentence)
            if not words:
                raise UserError(
                    "a prompt is empty, or has no word; write what the image shall show."
                )
            for word in words:
                if word not in self.index:
                    raise UserError(
                        f"the encoder does not know the word '{word}' of "
                        f"{sentence!r}{near(word, self.index) or '.'} {self.known()} Another CLIP "
                        "knows others: encoder.clip=FOLDER."
                    )
            if len(words) > self.context_length - 2:
                raise UserError(
                    f"the prompt {sentence!r} has {len(words)} words; the encoder takes at most "
                    f"{self.context_length - 2}."
                )
            ids = [len(self.index) + 1, *map(self.index.get, words), len(self.index) + 2]
            rows.append(ids + [0] * (self.context_length - len(ids)))
        return torch.tensor(rows, dtype=torch.long).view(-1, self.context_length)
