"""What is alike: sim(x, y) = Σ_i w_i sim_i(x, y_i), one value per sample, differentiable in x.

Every term compares pairs: a sample may have several sentences or references, each with a weight of
its own, negative ones too.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from sdg.diffusion.schedule import CLEAN, Schedule
from sdg.errors import UserError
from sdg.models.encoder import ImageEncoder
from sdg.models.stages import Encoded
from sdg.similarity.checks import checked_values
from sdg.similarity.noisy_images import NoisyImages
from sdg.similarity.references import References
from sdg.similarity.term import Pairs, Targets, Term

__all__ = ["Similarity", "matched_levels"]


class Similarity:
    """Σ_i w_i sim_i, the sum of its terms.

    It takes one pass of the encoder over the samples and one, shared, over the references.

    Arguments:
        encoder: E; None where no term reads anything that comes from one.
        terms: {name: term}.
        levels: the encoder's level for each of the denoiser's, integers (T,), matched by ᾱ.
        references: the images that terms refer to.
    """

    def __init__(
        self,
        encoder: ImageEncoder | None,
        terms: Mapping[str, Term],
        levels: Tensor,
        references: References | None = None,
    ):
        self.encoder, self.terms = encoder, dict(terms)
        self.levels, self.references = levels, references
        stages = [stage for term in self.terms.values() for stage in term.stages]
        self.stages = tuple(dict.fromkeys(stages))

    def encode(self, x: Tensor, level: int) -> Encoded:
        """The encoder's output for images at one of the denoiser's levels."""
        if self.encoder is None:
            raise UserError(
                "a similarity of this run reads an embedding or a stage, and there is no encoder; "
                "choose one, such as encoder=clip_noisy."
            )
        least = max(level, 0)  # a clean image gets the level of least noise
        return self.encoder.encode(x, self.levels[least].to(x.device).expand(len(x)), self.stages)

    def condition(
        self,
        conditions: Mapping[str, Sequence[Targets]],
        device: torch.device | str = "cpu",
    ) -> Callable[[Tensor, int], Tensor]:
        """sim(x, y) of a batch.

        It is of samples (B, C, H, W) at one of the denoiser's levels, −1 for clean ones.

        Arguments:
            conditions: {term: what each sample shall be like}.
        """
        targets = {name: term.targets(conditions[name]) for name, term in self.terms.items()}
        with_references = [name for name, term in self.terms.items() if term.by_reference]
        images = list(dict.fromkeys(itertools.chain(*(targets[name] for name in with_references))))
        targets |= dict.fromkeys(with_references, images)
        pairs = {name: Pairs(conditions[name], targets[name]).to(device) for name in self.terms}
        encoded: dict[int, NoisyImages] = {}

        def references(level: int) -> NoisyImages:
            if level in encoded:
                return encoded[level]
            # A repeated step has the same references, the next one others.
            for passed in encoded.keys() - {CLEAN}:
                del encoded[passed]
            assert self.references is not None  # a term by reference has its images there
            pixels = self.references.at(images, level).to(device)
            encode = partial(torch.no_grad()(self.encode), pixels, level)
            encoded[level] = NoisyImages(pixels, level, encode)
            return encoded[level]

        def similarity(x: Tensor, level: int) -> Tensor:
            samples = NoisyImages(x, level, partial(self.encode, x, level))
            values = []
            for name, term in self.terms.items():
                beside = None
                if term.by_reference:
                    beside = references(level if term.noised else CLEAN)
                value = term.compare(samples, pairs[name], beside)
                count = len(pairs[name].samples)
                value = checked_values(name, value, count, "pair", x)
                values.append(term.weight * pairs[name].weighted_sum(value))
            return reduce(add, values)

        return similarity


def matched_levels(denoiser: Schedule, encoder: Mapping[str, Any] | None) -> Tensor:
    """The encoder's level with the same ᾱ, for each of the denoiser's T levels.

    Arguments:
        denoiser: its schedule.
        encoder: config of the encoder's schedule, or None for a clean encoder, which ignores its
            level.

    Raises:
        UserError: the encoder has no such level.
    """
    levels = torch.arange(denoiser.T)
    if encoder is None:
        return levels
    return Schedule(**encoder).match(
        denoiser.alpha_bar(levels).flatten(),
        own="the encoder's schedule",
        other="the denoiser's schedule",
    )
