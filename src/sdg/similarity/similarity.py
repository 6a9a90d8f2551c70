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
from sdg.models.encoding import check_unit, encode_images, name_of
from sdg.models.stages import Encoded
from sdg.similarity.noisy_images import NoisyImages
from sdg.similarity.references import References
from sdg.similarity.term import Pairs, Targets, Term
from sdg.similarity.value_checks import checked_values

__all__ = ["Similarity", "matched_levels"]


class Similarity:
    """Σ_i w_i sim_i, the sum of its terms.

    It takes one pass of the encoder over the samples and one, shared, over the references. Under
    autocast to bfloat16 the encoder runs in it; what the terms compute of its output is float32.

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
        self.lengths_seen = False  # of the encoder's embeddings

    def condition(
        self,
        conditions: Mapping[str, Sequence[Targets]],
        device: torch.device | str = "cpu",
    ) -> Callable[[Tensor, float], Tensor]:
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
        levels = self.levels.to(device)
        encoded: dict[float, NoisyImages] = {}

        def references(level: float, precision: torch.autocast) -> NoisyImages:
            if level in encoded:
                return encoded[level]
            # A repeated step has the same references, the next one others.
            for passed in encoded.keys() - {CLEAN}:
                del encoded[passed]
            assert self.references is not None  # a term by reference has its images there
            pixels = self.references.at(images, level).to(device)
            own = between(levels, level).expand(len(pixels))
            once = partial(torch.no_grad()(self.encode), pixels, own)
            encoded[level] = NoisyImages(pixels, level, once, precision)
            return encoded[level]

        def similarity(x: Tensor, level: float) -> Tensor:
            own = between(levels, level).expand(len(x))
            kind, half = x.device.type, torch.bfloat16
            # A gradient through float16 would underflow: nothing scales it.
            mixed = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == half
            precision = torch.autocast(kind, half, enabled=mixed)
            samples = NoisyImages(x, level, partial(self.encode, x, own), precision)
            values = []
            with torch.autocast(kind, enabled=False):
                for name, term in self.terms.items():
                    beside = None
                    if term.by_reference:
                        beside = references(level if term.noised else CLEAN, precision)
                    row, weights = pairs[name].samples, pairs[name].weights
                    value = term.compare(samples, pairs[name], beside)
                    value = checked_values(name, value, len(row), "pair", x)
                    zeros = torch.zeros(len(x), device=value.device, dtype=value.dtype)
                    summed = zeros.index_add(0, row, weights.to(value.dtype) * value)
                    values.append(term.weight * summed)
                return reduce(add, values)

        return similarity

    def encode(self, x: Tensor, t: Tensor) -> Encoded:
        """What the encoder says of images, whose lengths are looked at once.

        Arguments:
            x: images, (B, 3, H, W).
            t: their levels in the encoder's schedule, (B,).

        Raises:
            UserError: there is no encoder, or it does not give what it must.
        """
        if self.encoder is None:
            raise UserError(
                "a similarity of this run reads an embedding or a stage, and there is no encoder; "
                "choose one, such as encoder=clip_noisy."
            )
        encoded = encode_images(self.encoder, x, t, self.stages)
        if not self.lengths_seen:
            check_unit(name_of(self.encoder), "encode", encoded.z)
            self.lengths_seen = True
        return encoded


def between(levels: Tensor, t: float) -> Tensor:
    """What a table has at a level, the nearest whole number between two where t is real.

    A clean image, t = −1, gets that of least noise.
    """
    if isinstance(t, int):
        return levels[max(t, 0)]
    t = max(t, 0.0)
    below = min(int(t), len(levels) - 2)
    return torch.lerp(levels[below].double(), levels[below + 1].double(), t - below).round().long()


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
