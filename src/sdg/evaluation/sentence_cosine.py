"""The cosine between each sample and its own sentence, by the clean CLIP of `eval`."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sdg.data.prompts import primary_prompt
from sdg.models.clip import CLIP

__all__ = ["SentenceCosine"]


class SentenceCosine:
    """Notes the cosine between samples and sentences, where the conditions have sentences.

    Arguments:
        clip: the clean CLIP, on the device of the samples.
        conditions: {kind: prompt} of each sample.
    """

    def __init__(self, clip: CLIP, conditions: Sequence[Mapping[str, str]]):
        self.conditions = conditions
        texts = [condition["text"] for condition in conditions if "text" in condition]
        sentences = list(dict.fromkeys(primary_prompt(text) for text in texts))
        self.embeddings: dict[str, Tensor] = {}
        if sentences:
            self.embeddings = dict(zip(sentences, clip.encode_text(sentences), strict=True))

    def add(self, embeddings: Tensor, index: Tensor, rows: list[dict]) -> None:
        """Adds the cosines to the samples' rows of the table.

        Arguments:
            embeddings: of the samples by CLIP, of length 1, (B, D).
            index: of the samples, integers (B,).
        """
        if not self.embeddings:
            return
        texts = [primary_prompt(self.conditions[i]["text"]) for i in index.tolist()]
        expected = torch.stack([self.embeddings[text] for text in texts])
        cosines = (embeddings * expected).sum(1).tolist()
        for row, cosine in zip(rows, cosines, strict=True):
            row["similarity"] = round(cosine, 4)
