"""Sentences to integers, for encoders that know a few words."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sdg.models.words import Words

__all__ = ["WordTokenizer"]


class WordTokenizer(Words):
    """One token a word: 0 pads, 1 … n are the words, n + 1 starts and n + 2 ends a sentence.

    Arguments:
        words: the vocabulary; travels with the encoder's weights.
        context_length: tokens of the longest sentence, start and end included.
    """

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Tokens, int64, shape (N, context_length).

        Raises:
            UserError: an empty sentence, an unknown word, or too many words.
        """
        start, end = len(self.index) + 1, len(self.index) + 2
        rows = []
        for sentence in sentences:
            ids = [start, *self.word_numbers(sentence), end]
            rows.append(ids + [0] * (self.context_length - len(ids)))
        return torch.tensor(rows, dtype=torch.long).view(-1, self.context_length)
