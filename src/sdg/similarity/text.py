"""A sentence."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from sdg.data.image_set import ImageSet
from sdg.data.prompts import read_table
from sdg.errors import UserError, number
from sdg.io.shipped import on_this_machine
from sdg.models.caption_embeddings import CaptionEmbeddings
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.models.encoding import check_spaces, encode_sentences, name_of
from sdg.models.unread import warn_of_unread_words
from sdg.similarity.noisy_images import NoisyImages
from sdg.similarity.run_context import RunContext
from sdg.similarity.term import Pairs, Targets, Term

__all__ = ["Text", "read_negative_captions"]

NEGATIVES = 256  # held-out captions


class Text(Term):
    """The paper's text guidance (Liu et al. 2022, arXiv 2112.05744, eq. 7).

    It is cos(E(x, s), E_text(y)), or with negative captions y_k

        cos(E(x, s), E_text(y)) − 1/c log mean_k exp(c · cos(E(x, s), E_text(y_k)))

    CLIP's training (van den Oord et al. 2018, arXiv 1807.03748, eq. 5) makes c · cos estimate
    log p(y | x) − log p(y) up to a term of x alone. That term says nothing of y, but its gradient
    moves x; where these captions are draws of p(y), what is subtracted is just it. A calibrated
    encoder's z, at its own length, takes the place of c · E, and the value is its estimate of
    log p(y | x_s) − log p(y):

        z · E_text(y) − log mean_k exp(z · E_text(y_k))

    Arguments:
        encoder: E, with CLIP's learned `logit_scale` c.
        text_encoder: E_text, with `encode_text(sentences)`; every sentence is encoded once.
        sentences: encoded at once; others are when they are first asked for.
        weight: w; None takes c, with which γ = 1 is roughly Bayes' rule and the same γ means the
            same for every encoder; for a calibrated one, which has no unit left, None takes 1, and
            γ = 1 is Bayes' rule.
        negative_captions: other sentences y_k; none gives the bare cosine. A calibrated encoder
            needs some.
        embeddings: of those, where they are kept; None computes them here.

    Raises:
        UserError: a calibrated encoder, and no negative captions.
    """

    condition_option = "prompt"

    def __init__(
        self,
        encoder: ImageEncoder,
        text_encoder: TextEncoder,
        sentences: Sequence[str] = (),
        weight: float | None = None,
        negative_captions: Sequence[str] = (),
        embeddings: CaptionEmbeddings | None = None,
    ):
        self.calibrated = encoder.calibrated
        if self.calibrated and not negative_captions:
            raise UserError(
                "this encoder's log-probabilities are over a bank of captions: give "
                "negative_captions, captions of other images."
            )
        self.scale = 1.0 if self.calibrated else encoder.cosine_scale
        super().__init__(self.scale if weight is None else number("weight", weight))
        self.names = name_of(encoder), name_of(text_encoder)
        self.text_encoder, self.order = text_encoder, list(dict.fromkeys(sentences))
        warn_of_unread_words(text_encoder, self.order)
        self.embeddings = self.encoded(self.order)
        self.negative_captions = list(negative_captions)
        kept = embeddings or CaptionEmbeddings()
        self.negatives = kept.encode(text_encoder, self.negative_captions)

    @classmethod
    def from_config(  # type: ignore[override]  # a term's own options
        cls,
        run: RunContext,
        weight: float | None = None,
        negative_captions: str | Sequence[str] | None = None,
    ) -> "Text":
        encoder, text_encoder = run.image_encoder, run.text_encoder
        sentences = [sentence for targets in run.targets for sentence, _ in targets]
        captions = read_negative_captions(negative_captions, run.held_out, encoder.calibrated)
        return cls(encoder, text_encoder, sentences, weight, captions, run.embeddings)

    def fingerprint(self) -> list[str]:
        return self.negative_captions

    @torch.no_grad()
    def encoded(self, sentences: Sequence[str]) -> Tensor | None:
        """E_text of sentences, (N, D); None of none."""
        return encode_sentences(self.text_encoder, sentences) if sentences else None

    def targets(self, conditions: Sequence[Targets]) -> list[str]:
        asked = super().targets(conditions)
        added = [sentence for sentence in asked if sentence not in self.order]
        warn_of_unread_words(self.text_encoder, added)
        embeddings = self.encoded(added)
        if embeddings is not None:
            known = [] if self.embeddings is None else [self.embeddings.to(embeddings)]
            self.embeddings = torch.cat([*known, embeddings])
            self.order += added
        return self.order

    def compare(self, x: NoisyImages, pairs: Pairs, references: NoisyImages | None) -> Tensor:
        z = x.scaled if self.calibrated else x.z
        assert self.embeddings is not None  # `targets`
        check_spaces(self.names, z, self.embeddings)
        value = (z[pairs.samples] * self.embeddings.to(z)[pairs.targets]).sum(-1)
        if self.negatives is None:
            return value
        logits = self.scale * z @ self.negatives.to(z).T
        log_mean = logits.logsumexp(1) - math.log(len(self.negatives))
        return value - log_mean[pairs.samples] / self.scale


def read_negative_captions(
    given: str | Sequence[str] | None, held_out: ImageSet, calibrated: bool = False
) -> list[str]:
    """The sentences against which a prompt is weighed.

    By default they are held-out captions for a calibrated encoder and none for others.

    Arguments:
        given: `held_out`, a file of sentences, or the sentences; None is the default.
        held_out: the held-out part of the data.
        calibrated: whether the encoder is.
    """
    key = "similarity.text.negative_captions"
    if given is None and not calibrated:
        return []
    if given is None and not held_out.has_captions:
        raise UserError(
            "this encoder's log-probabilities are over a bank of captions, and this data has none: "
            f"set {key}=FILE, one sentence a line."
        )
    if given is not None and not isinstance(given, str):
        return [str(sentence) for sentence in given]
    if given not in (None, "held_out"):
        table = read_table(on_this_machine(given) or Path(given).expanduser(), key)
        if "text" not in table:
            raise UserError(f"{key}: {given} has no column 'prompt'.")
        return table["text"]
    if not held_out.has_captions:
        raise UserError(
            f"{key}=held_out: this data has no captions; give a file of sentences instead."
        )
    return [held_out.caption(i, variant=1) for i in range(min(NEGATIVES, len(held_out)))]
