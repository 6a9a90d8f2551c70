"""A loader that goes on in the middle of an epoch."""

import itertools
from collections.abc import Callable, Iterator

from torch.utils.data import DataLoader, DistributedSampler

from sdg.data.stream import Stream

__all__ = ["Order", "Resumable"]


class Order(DistributedSampler):
    """torch's order of a data set for one process, which follows from seed and epoch.

    The first `passed` places of it are left out once.
    """

    passed = 0

    def __iter__(self) -> Iterator[int]:
        passed, self.passed = self.passed, 0
        return itertools.islice(super().__iter__(), passed, None)


class Resumable(DataLoader):
    """Gives the batches of an epoch that were not given before.

    Lightning keeps `state_dict` in its checkpoints.

    Arguments:
        dataset: a `Stream`, or a data set in an `Order`.
        epoch: tells which epoch begins.
        options: DataLoader's.
    """

    start = given = 0

    def __init__(self, dataset, epoch: Callable[[], int], **options):
        super().__init__(dataset, **options)
        self.begins = epoch

    def __iter__(self) -> Iterator:  # runs at the first batch, when the epoch is known
        self.given, self.start = self.start, 0
        if isinstance(self.dataset, Stream):
            self.dataset.set_epoch(self.begins())
            self.dataset.done.fill_(self.given)
        else:
            self.sampler.passed = self.given * self.batch_size
        for batch in super().__iter__():
            self.given += 1
            yield batch

    @property
    def images(self) -> int:
        """How many images the batch of every process holds together."""
        return (
            self.dataset.batch_size * self.dataset.world
            if isinstance(self.dataset, Stream)
            else self.batch_size * self.sampler.num_replicas
        )

    def state_dict(self) -> dict:
        return {
            "given": self.given * self.images
        }  # another run may have other batches, or another number of processes

    def load_state_dict(self, state: dict) -> None:
        self.start = state["given"] // self.images % len(self)
