"""WHAT is alike: sim(x, y) = Σ_i w_i sim_i(x, y_i), one value per sample, differentiable in x.

Every term compares pairs: a sample may have several sentences or references, each with a weight of its own, negative ones too.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sdg.diffusion.schedule import Schedule
from sdg.models.stages import Encoded
from sdg.similarity.references import References

__all__ = ["Pairs", "Similarity", "Targets", "Term", "matched_levels"]

CLEAN = -1  # the level of an image without noise
Targets = Sequence[tuple[str, float]]  # what one sample shall be like, each with its weight


class Pairs:
    """Which sample is compared with which target, and how much that counts.

    Arguments:
        wishes: targets and weights of every sample of a batch.
        order: the targets' places.
    """

    def __init__(self, wishes: Sequence[Targets], order: Sequence[str]):
        place = {target: k for k, target in enumerate(order)}
        flat = [(row, place[target], weight) for row, targets in enumerate(wishes) for target, weight in targets]
        self.samples, self.targets = (torch.tensor([pair[k] for pair in flat], dtype=torch.long) for k in (0, 1))
        self.weights, self.batch = torch.tensor([pair[2] for pair in flat]), len(wishes)

    def to(self, device) -> "Pairs":
        self.samples, self.targets, self.weights = self.samples.to(device), self.targets.to(device), self.weights.to(device)
        return self

    def add_up(self, values: Tensor) -> Tensor:
        """Σ of weight · value over the pairs of each sample, (B,), from one value a pair."""
        return torch.zeros(self.batch, device=values.device, dtype=values.dtype).index_add(0, self.samples, self.weights.to(values.dtype) * values)


class Term(ABC):
    """One way of being alike.

    Arguments:
        weight: w.
        stages: whose maps the term reads, by name.
    """

    by_reference = False  # whether its targets are images
    noised = True  # whether it reads them at the level of x, or as they are

    def __init__(self, weight: float, stages: Sequence[str] = ()):
        self.weight, self.stages = weight, tuple(stages)

    @abstractmethod
    def compare(self, x: Encoded, pairs: Pairs, references: Encoded | None) -> Tensor:
        """sim_i of every pair, (P,)."""

    def targets(self, wishes: Sequence[Targets]) -> list[str]:
        """The batch's distinct targets, in the order that `Pairs` numbers them."""
        return list(dict.fromkeys(target for targets in wishes for target, _ in targets))


class Similarity:
    """Σ_i w_i sim_i, from one pass of the encoder over the samples and one, shared, over the references.

    Arguments:
        encoder: E, with `encode(x, t, stages)`.
        terms: {name: term}.
        levels: the encoder's level for each of the denoiser's, integers (T,), matched by ᾱ.
        references: the images that terms refer to.
    """

    def __init__(self, encoder, terms: Mapping[str, Term], levels: Tensor, references: References | None = None):
        self.encoder, self.terms, self.levels, self.references = encoder, dict(terms), levels, references
        self.stages = tuple(dict.fromkeys(stage for term in self.terms.values() for stage in term.stages))

    def encode(self, x: Tensor, level: int) -> Encoded:
        t = self.levels[max(level, 0)].to(x.device).expand(len(x))  # a clean image is told the least noise there is
        return self.encoder.encode(x, t, self.stages)

    def bind(self, wishes: Mapping[str, Sequence[Targets]], device="cpu") -> Callable[[Tensor, int], Tensor]:
        """sim(x, y) of a batch: of samples (B, C, H, W) at one of the denoiser's levels, −1 for clean ones.

        Arguments:
            wishes: {term: what each sample shall be like}.
        """
        images = list(dict.fromkeys(target for name, term in self.terms.items() if term.by_reference for target in term.targets(wishes[name])))
        pairs = {name: Pairs(wishes[name], images if term.by_reference else term.targets(wishes[name])).to(device) for name, term in self.terms.items()}
        kept: dict[int, Encoded] = {}

        def references(level: int) -> Encoded:
            if level not in kept:
                for passed in kept.keys() - {CLEAN}:  # a repeated step has the same references, the next one others
                    del kept[passed]
                with torch.no_grad():
                    kept[level] = self.encode(self.references.at(images, level).to(device), level)
            return kept[level]

        def similarity(x: Tensor, level: int) -> Tensor:
            seen = self.encode(x, level)
            return sum(term.weight * pairs[name].add_up(term.compare(
                seen, pairs[name], references(level if term.noised else CLEAN) if term.by_reference else None)) for name, term in self.terms.items())
        return similarity


def matched_levels(denoiser: Schedule, encoder: Mapping | None) -> Tensor:
    """The encoder's level with the same ᾱ, for each of the denoiser's T levels.

    Arguments:
        denoiser: its schedule.
        encoder: config of the encoder's schedule, or None for a clean encoder, which ignores its level.
    """
    every = torch.arange(denoiser.T)
    return every if encoder is None else Schedule(**encoder).match(denoiser.alpha_bar(every).flatten())
