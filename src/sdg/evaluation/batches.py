"""The batches of a run, so many that no list of them is kept."""

import bisect
import itertools
from collections.abc import Sequence
from typing import overload

__all__ = ["Batches"]


class Batches(Sequence[range]):
    """Some of a run's batches, each the indices of its samples; kept as runs of their numbers.

    Arguments:
        runs: numbers of batches, in order.
        size: number of samples of the run.
        batch_size: of all batches but the last.
    """

    def __init__(self, runs: Sequence[range], size: int, batch_size: int):
        self.runs = [run for run in runs if run]
        self.ends = list(itertools.accumulate(len(run) for run in self.runs))
        self.size, self.batch_size = size, batch_size

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    @overload
    def __getitem__(self, index: int) -> range: ...

    @overload
    def __getitem__(self, index: slice) -> list[range]: ...

    def __getitem__(self, index: int | slice) -> range | list[range]:
        place = range(len(self))[index]
        if isinstance(place, range):
            return [self[each] for each in place]
        k = bisect.bisect_right(self.ends, place)
        start = self.runs[k][place - self.ends[k]] * self.batch_size
        return range(start, min(start + self.batch_size, self.size))
