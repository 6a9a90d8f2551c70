"""One way of being alike, and which samples it compares with which targets."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from sdg.models.stages import Encoded

__all__ = ["Pairs", "Targets", "Term", "is_calibrated"]

Targets = Sequence[tuple[str, float]]  # what one sample shall be like, each with its weight


class Pairs:
    """Which sample is compared with which target, and how much that counts.

    Arguments:
        conditions: targets and weights of every sample of a batch.
        order: the targets' places.
    """

    def __init__(self, conditions: Sequence[Targets], order: Sequence[str]):
        place = {target: k for k, target in enumerate(order)}
        flat = [
            (row, place[target], weight)
            for row, targets in enumerate(conditions)
            for target, weight in targets
        ]
        self.samples, self.targets = (
            torch.tensor([pair[k] for pair in flat], dtype=torch.long) for k in (0, 1)
        )
        self.weights, self.batch = torch.tensor([pair[2] for pair in flat]), len(conditions)

    def to(self, device) -> "Pairs":
        self.samples, self.targets, self.weights = (
            self.samples.to(device),
            self.targets.to(device),
            self.weights.to(device),
        )
        return self

    def add_up(self, values: Tensor) -> Tensor:
        """Σ of weight · value over the pairs of each sample, (B,), from one value a pair."""
        return torch.zeros(self.batch, device=values.device, dtype=values.dtype).index_add(
            0, self.samples, self.weights.to(values.dtype) * values
        )


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

    def targets(self, conditions: Sequence[Targets]) -> list[str]:
        """The batch's distinct targets, in the order that `Pairs` numbers them."""
        return list(dict.fromkeys(target for targets in conditions for target, _ in targets))


def is_calibrated(encoder) -> bool:
    """Whether z · E_text(y) of this encoder is a logit of p(y | x_t).

    `Encoded.scaled` is there then.
    """
    return getattr(encoder, "calibrated", False)
