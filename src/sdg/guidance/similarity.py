"""WHAT is alike: sim(x, y) = Σ_i w_i sim_i(x, y_i), one value per sample, differentiable in x."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sdg.errors import number

__all__ = ["Text", "total"]

Similarity = Callable[[Tensor, Tensor], Tensor]  # (x (B, 3, H, W), levels (B,)) to (B,)


class Text:
    """w · cos(E(x, s), E_text(y)), the seed's text guidance (Liu et al. 2022, arXiv 2112.05744, eq. 7).

    Arguments:
        image_encoder: E, with `encode_image(x, t)` and CLIP's learned `logit_scale`.
        text_encoder: E_text, with `encode_text(sentences)`; every sentence is encoded once.
        sentences: all that will be asked for.
        weight: w; None takes the encoder's logit scale c. CLIP's training makes c · cos estimate log p(y | x) up to a constant in
            y, so that with c γ = 1 is Bayes' rule and the same γ means the same for every encoder.
    """

    def __init__(self, image_encoder, text_encoder, sentences: Sequence[str], weight: float | None = None):
        self.encoder = image_encoder
        self.weight = float(image_encoder.logit_scale) if weight is None else number("similarity.text.weight", weight)
        unique = list(dict.fromkeys(sentences))
        with torch.no_grad():
            self.embeddings = dict(zip(unique, text_encoder.encode_text(unique)))

    def to(self, sentences: Sequence[str]) -> Similarity:
        """The similarity of a batch to its sentences, one each."""
        y = torch.stack([self.embeddings[sentence] for sentence in sentences])
        return lambda x, t: self.weight * (self.encoder.encode_image(x, t) * y.to(x.device)).sum(-1)


def total(terms: Sequence[Similarity]) -> Similarity:
    """Σ_i sim_i."""
    return lambda x, t: sum(term(x, t) for term in terms)
