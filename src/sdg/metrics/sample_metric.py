"""What a metric of one's own is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor
from torchmetrics import Metric

__all__ = ["SampleMetric"]


class SampleMetric(Metric, ABC):
    """One figure of a run's samples.

    Its states, of `add_state`, are summed up over all processes, as torchmetrics does.
    """

    full_state_update = False

    @abstractmethod
    def update(self, images: Tensor, conditions: Sequence[Mapping[str, str]]) -> None:
        """Adds a part of the samples; every sample comes once.

        Arguments:
            images: (B, 3, H, W) in [-1, 1], as they were written, 8 bits deep.
            conditions: {similarity: what was asked for} of each, as the user wrote it; a sentence
                is that of `text`.
        """

    @abstractmethod
    def compute(self) -> Tensor | float:
        """The figure, one number."""
