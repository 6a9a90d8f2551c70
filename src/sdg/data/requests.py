"""What a sampling run is asked for: a seed, and what the sample shall be like, for every sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

__all__ = ["Request", "Requests"]

Conditions = Mapping[str, str]  # {similarity: what the sample shall be like, as the user wrote it}


@dataclass
class Request:
    """One sample: its place in the run, the seed of all its noise, and what it shall be like."""

    index: int
    seed: int
    conditions: Conditions


class Requests(Sequence[Request]):
    """K requests for each of the conditions, in order.

    A sample's seed follows from the run's seed and its index alone.
    """

    def __init__(self, conditions: Sequence[Conditions], each: int, seed: int):
        every = [condition for condition in conditions for _ in range(each)]
        self.requests = [
            Request(i, sample_seed(seed, i), condition) for i, condition in enumerate(every)
        ]

    def __len__(self) -> int:
        return len(self.requests)

    @overload
    def __getitem__(self, index: int) -> Request: ...

    @overload
    def __getitem__(self, index: slice) -> list[Request]: ...

    def __getitem__(self, index: int | slice) -> Request | list[Request]:
        return self.requests[index]


def sample_seed(seed: int, index: int) -> int:
    """The seed of one sample, from that of the run."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)
