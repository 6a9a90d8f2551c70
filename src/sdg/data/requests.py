"""What a sampling run is asked for: a seed, and what the sample shall be like, for every sample."""

import itertools
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
    """K requests for each of the conditions, in order; each is made when it is asked for.

    A sample's seed follows from the run's seed and its index alone.

    Arguments:
        conditions: of the run.
        each: K.
        seed: of the run.
    """

    def __init__(self, conditions: Sequence[Conditions], each: int, seed: int):
        self.conditions, self.each, self.seed = conditions, each, seed

    def sample_conditions(self) -> list[dict[str, str]]:
        """{similarity: what it shall be like} of every sample; as long as the run."""
        repeated = (itertools.repeat(condition, self.each) for condition in self.conditions)
        return [dict(condition) for condition in itertools.chain.from_iterable(repeated)]

    def __len__(self) -> int:
        return len(self.conditions) * self.each

    @overload
    def __getitem__(self, index: int) -> Request: ...

    @overload
    def __getitem__(self, index: slice) -> list[Request]: ...

    def __getitem__(self, index: int | slice) -> Request | list[Request]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        condition = self.conditions[places // self.each]
        return Request(places, sample_seed(self.seed, places), condition)


def sample_seed(seed: int, index: int) -> int:
    """The seed of one sample, from that of the run."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)
