"""One way of being alike, and which samples it compares with which targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdg.data.prompts import parse_weighted_prompt
from sdg.errors import UserError, near, number
from sdg.similarity.noisy_images import NoisyImages

if TYPE_CHECKING:
    from sdg.similarity.run_context import RunContext

__all__ = ["UNCONDITIONAL", "Pairs", "Targets", "Term"]

Targets = Sequence[tuple[str, float]]  # what one sample shall be like, each with its weight
UNCONDITIONAL: Targets = (("", 1.0),)  # of a term that asks the same of every sample


class Pairs:
    """Which sample is compared with which target, and how much that counts.

    Arguments:
        conditions: targets and weights of every sample of a batch.
        order: the targets, each at its place.

    Attributes:
        samples, targets: the place in the batch, and the place in `order`, of every pair, integers
            (P,).
        weights: of every pair, (P,).

    Raises:
        UserError: a condition names a target that is not in `order`.
    """

    def __init__(self, conditions: Sequence[Targets], order: Sequence[str]):
        self.order = tuple(order)
        place = {target: k for k, target in enumerate(order)}
        samples, places, weights = [], [], []
        for sample, targets in enumerate(conditions):
            for target, weight in targets:
                if target not in place:
                    raise UserError(
                        f"{target!r} is none of the targets that this term knows"
                        f"{near(target, order) or '.'}"
                    )
                samples.append(sample)
                places.append(place[target])
                weights.append(weight)
        self.samples = torch.tensor(samples, dtype=torch.long)
        self.targets = torch.tensor(places, dtype=torch.long)
        self.weights = torch.tensor(weights)

    def to(self, device: torch.device | str) -> Pairs:
        self.samples, self.targets = self.samples.to(device), self.targets.to(device)
        self.weights = self.weights.to(device)
        return self


class Term(ABC):
    """One way of being alike, sim_i: a value for every pair of a sample and a target.

    Arguments:
        weight: w, by which its values are multiplied.
        stages: the names of the encoder's stages whose maps the term reads.

    Raises:
        UserError: the weight is no finite number.

    Attributes:
        condition_option: the option of its config that says what samples shall be like, a word or
            a list; it is no argument of the constructor. `prompt` takes held-out captions where
            nothing is given, `reference` held-out images, `name` held-out classes. None for a term
            that asks the same of every sample.
        by_reference: whether its targets are images.
        noised: whether it reads those at the noise level of x, or as they are.
    """

    condition_option: str | None = None
    by_reference = False
    noised = True

    def __init__(self, weight: float, stages: Sequence[str] = ()):
        self.weight, self.stages = number("weight", weight), tuple(stages)

    @classmethod
    def from_config(cls, run: RunContext, **options: Any) -> Term:
        """The term of a config.

        By default the constructor with the options; a term that needs an encoder or the data takes
        them from `run`.
        """
        return cls(**options)

    @abstractmethod
    def compare(self, x: NoisyImages, pairs: Pairs, references: NoisyImages | None) -> Tensor:
        """sim_i of every pair, (P,), differentiable in x.

        It is called once a guided step. A sample without condition is one pair.

        Arguments:
            x: the batch, B images at one noise level: μ_θ, x_t or x̂_0, as guidance asks.
            pairs: P pairs; those of `value[pairs.samples]` for a value per sample, (B,).
            references: with `by_reference` the R images that the batch refers to, in the order of
                `pairs.order`; else None.
        """

    @classmethod
    def targets_of(cls, condition: str | None) -> Targets:
        """What one sample shall be like, from its condition as the user wrote it.

        Raises:
            UserError: there is none, and this term needs one.
        """
        if condition is not None:
            return parse_weighted_prompt(condition)
        if cls.condition_option or cls.by_reference:
            raise UserError(f"{cls.__name__}: nothing says what samples shall be like.")
        return UNCONDITIONAL

    def fingerprint(self) -> Any:
        """What else its values follow from, as plain values: a run with another draws anew.

        Its options, its conditions, its source file and the files that options name count anyway.
        """
        return None

    def targets(self, conditions: Sequence[Targets]) -> list[str]:
        """The batch's distinct targets, in the order that `Pairs` numbers them."""
        return list(dict.fromkeys(target for targets in conditions for target, _ in targets))
