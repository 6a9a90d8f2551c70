"""The first loss that is no number."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["FirstNonFinite", "Place"]

EVERY = 50  # steps between two readings of a GPU


class Place(NamedTuple):
    """Where a training is: step, epoch, and batch of the epoch."""

    step: int
    epoch: int
    batch: int


class FirstNonFinite:
    """The first place at which the loss was NaN or infinite.

    On a CPU a loss is looked at when it comes. On a GPU that would wait for it at each step, so
    losses are gathered there and looked at every 50 steps, and before anything is written.
    """

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.places: list[Place] = []

    def add(self, loss: Tensor, place: Place) -> Place | None:
        """Adds a loss; the first place that is known by now to be wrong, None for none."""
        self.losses.append(loss.detach())
        self.places.append(place)
        if loss.device.type != "cpu" and len(self.losses) < EVERY:
            return None
        return self.first_wrong()

    def first_wrong(self) -> Place | None:
        """The first wrong place since the last reading, None for none."""
        if not self.losses:
            return None
        wrong = (~torch.stack(self.losses).isfinite()).nonzero()
        first = self.places[int(wrong[0])] if len(wrong) else None
        self.losses, self.places = [], []
        return first
