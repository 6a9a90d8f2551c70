"""WHAT is alike: sim(x, y) = Σ_i w_i sim_i(x, y_i), one value per sample, differentiable in x.

Every term compares pairs: a sample may have several sentences or references, each with a weight of
its own, negative ones too.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.models.encoder import ImageEncoder
from sdg.models.stages import Encoded
from sdg.similarity.noisy_images import NoisyImages
from sdg.similarity.references import References
from sdg.similarity.term import Pairs, Targets, Term

__all__ = ["Similarity", "matched_levels"]

CLEAN = -1  # the level of an image without noise


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
        self.encoder, self.terms, self.levels, self.references = (
            encoder,
            dict(terms),
            levels,
            references,
        )
        self.stages = tuple(
            dict.fromkeys(stage for term in self.terms.values() for stage in term.stages)
        )

    def encode(self, x: Tensor, level: int) -> Encoded:
        if self.encoder is None:
            raise UserError(
                "a similarity of this run reads an embedding or a stage, and there is no encoder; "
                "choose one, such as encoder=clip_noisy."
            )
        t = (
            self.levels[max(level, 0)].to(x.device).expand(len(x))
        )  # a clean image is told the least noise there is
        return self.encoder.encode(x, t, self.stages)

    def bind(
        self,
        conditions: Mapping[str, Sequence[Targets]],
        device: torch.device | str = "cpu",
    ) -> Callable[[Tensor, int], Tensor]:
        """sim(x, y) of a batch.

        It is of samples (B, C, H, W) at one of the denoiser's levels, −1 for clean ones.

        Arguments:
            conditions: {term: what each sample shall be like}.
        """
        images = list(
            dict.fromkeys(
                target
                for name, term in self.terms.items()
                if term.by_reference
                for target in term.targets(conditions[name])
            )
        )
        pairs = {
            name: Pairs(
                conditions[name], images if term.by_reference else term.targets(conditions[name])
            ).to(device)
            for name, term in self.terms.items()
        }
        kept: dict[int, NoisyImages] = {}

        def references(level: int) -> NoisyImages:
            if level not in kept:
                for passed in kept.keys() - {
                    CLEAN
                }:  # a repeated step has the same references, the next one others
                    del kept[passed]
                assert self.references is not None  # a term by reference has its images there
                pixels = self.references.at(images, level).to(device)
                kept[level] = NoisyImages(
                    pixels, level, lambda: torch.no_grad()(self.encode)(pixels, level)
                )
            return kept[level]

        def similarity(x: Tensor, level: int) -> Tensor:
            seen = NoisyImages(x, level, lambda: self.encode(x, level))
            values = (
                term.weight
                * pairs[name].add_up(
                    term.compare(
                        seen,
                        pairs[name],
                        references(level if term.noised else CLEAN) if term.by_reference else None,
                    )
                )
                for name, term in self.terms.items()
            )
            return reduce(add, values)

        return similarity


def matched_levels(denoiser: Schedule, encoder: Mapping[str, Any] | None) -> Tensor:
    """The encoder's level with the same ᾱ, for each of the denoiser's T levels.

    Arguments:
        denoiser: its schedule.
        encoder: config of the encoder's schedule, or None for a clean encoder, which ignores its
            level.
    """
    every = torch.arange(denoiser.T)
    return (
        every if encoder is None else Schedule(**encoder).match(denoiser.alpha_bar(every).flatten())
    )
