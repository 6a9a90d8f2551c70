"""What a pipeline compares samples with: its own terms, and those of the caller."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from sdg.data.image_set import NoImages
from sdg.data.prompts import parse_weighted_prompt
from sdg.data.requests import Request
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.guidance.guidance import SimilarityFn
from sdg.models.caption_embeddings import CaptionEmbeddings
from sdg.models.encoder import Encoders, ImageEncoder, TextEncoder
from sdg.pipeline.conditions import CallConditions
from sdg.similarity import (
    Content,
    RunContext,
    Similarity,
    Structure,
    Style,
    Term,
    Text,
    matched_levels,
)
from sdg.similarity.references import References
from sdg.similarity.value_checks import checked_values

__all__ = ["assemble_similarity", "build_terms", "total_similarity"]

# The pipeline's own terms, by the name of the argument that says what samples shall be like.
TERMS: dict[str, type[Term]] = {
    "text": Text,
    "content": Content,
    "structure": Structure,
    "style": Style,
}


def build_terms(
    conditions: CallConditions,
    weights: Mapping[str, float],
    encoder: ImageEncoder | None,
    text_encoder: TextEncoder | None,
    negative_captions: Sequence[str],
    embeddings: CaptionEmbeddings | None = None,
) -> dict[str, Term]:
    """{similarity: term} of a run.

    Arguments:
        weights: of some of the pipeline's own terms, instead of their own.
        encoder, text_encoder, negative_captions: of the pipeline.
        embeddings: of its negative captions, kept between its calls; None keeps none.

    Raises:
        UserError: the pipeline lacks what a term needs.
    """
    sentences = [parse_weighted_prompt(prompt) for prompt in conditions.columns.get("text", ())]
    terms: dict[str, Term] = {}
    for kind in conditions.kinds:
        check_encoders(kind, encoder, text_encoder)
        assert encoder is not None  # checked
        encoders, kept = Encoders(encoder, text_encoder), embeddings or CaptionEmbeddings()
        run = RunContext(encoders, "", sentences, NoImages(), kept)
        options: dict[str, Any] = {"weight": weights[kind]} if kind in weights else {}
        if kind == "text":
            options["negative_captions"] = negative_captions
        terms[kind] = TERMS[kind].from_config(run, **options)
    return terms | conditions.terms


def check_encoders(
    kind: str, encoder: ImageEncoder | None, text_encoder: TextEncoder | None
) -> None:
    """Refuses encoders that one of `TERMS` cannot use.

    Raises:
        UserError: the pipeline lacks what the term needs.
    """
    if encoder is None:
        raise UserError(
            "this pipeline has no encoder, which a sentence or a picture needs; give one to "
            "Pipeline(…, encoder=…)."
        )
    if encoder.classes:
        raise UserError(
            f"this pipeline's encoder knows classes only, which {kind} cannot use; guide by "
            "similarity={Class(encoder, None, encoder.classes, 'classifier'): name}."
        )
    if kind == "text" and text_encoder is None:
        raise UserError(
            "this pipeline has no text tower, which a sentence needs; give one to "
            "Pipeline(…, clip=…)."
        )


def assemble_similarity(
    terms: Mapping[str, Term],
    encoder: ImageEncoder | None,
    schedule: Schedule,
    images: Mapping[str, Tensor],
    seed: int,
    at_clean: bool,
) -> Similarity:
    """sim of a whole run.

    Arguments:
        terms: {similarity: term}.
        schedule: the denoiser's.
        images: {name: image (3, H, W)} of what the conditions refer to.
        seed: of the run.
        at_clean: whether it is asked about clean images only, so that the encoder's schedule does
            not matter.

    Raises:
        UserError: the encoder has no level for one of the denoiser's.
    """
    if encoder is None or at_clean:
        levels = torch.zeros(schedule.T, dtype=torch.long)
    else:
        levels = matched_levels(schedule, encoder.schedule)
    return Similarity(encoder, terms, levels, References(images, schedule, seed))


def total_similarity(
    similarity: Similarity | None,
    functions: Sequence[SimilarityFn],
    requests: Sequence[Request],
    device: torch.device,
) -> SimilarityFn:
    """sim of a batch: the terms' and the functions' values, added up.

    Arguments:
        similarity: of the run; None for functions alone.
        functions: of one's own.
        requests: of the batch.
    """
    parts = [checked(function) for function in functions]
    if similarity is not None:
        targets = {}
        for name, term in similarity.terms.items():
            targets[name] = [term.targets_of(request.conditions.get(name)) for request in requests]
        parts.append(similarity.condition(targets, device))
    if len(parts) == 1:
        return parts[0]
    return lambda x, level: reduce(add, (part(x, level) for part in parts))


def checked(function: SimilarityFn) -> SimilarityFn:
    """The function in float32, with its values checked: (B,), finite, with a gradient in x."""
    name = getattr(function, "__name__", type(function).__name__)

    def similarity(x: Tensor, level: float) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return checked_values(name, function(x, level), len(x), "sample", x)

    return similarity
