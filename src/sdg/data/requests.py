"""What a sampling run is asked for: a seed, and what the sample shall be like, for every sample."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

__all__ = ["Request", "Requests"]

Conditions = Mapping[str, str]  # {similarity: what the sample shall be like, as the user wrote it}


class Request(NamedTuple):
    """One sample: its place in the run, the seed of all its noise, and what it shall be like."""

    index: int
    seed: int
    conditions: Conditions


class Requests(Dataset):
    """K requests for each of the conditions, in order.

    A sample's seed follows from the run's seed and its index alone.
    """

    def __init__(self, conditions: Sequence[Conditions], each: int, seed: int):
        every = [condition for condition in conditions for _ in range(each)]
        self.requests = [
            Request(
                i,
                int(np.random.SeedSequence([seed, i]).generate_state(1, np.uint64)[0] >> 1),
                condition,
            )
            for i, condition in enumerate(every)
        ]

    def __len__(self) -> int:
        return len(self.requests)

    def __getitem__(self, index: int) -> Request:
        return self.requests[index]
