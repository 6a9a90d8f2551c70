"""A loader that goes on in the middle of an epoch."""

import copy
import itertools
from collections.abc import Callable, Iterator

from torch.utils.data import DataLoader, DistributedSampler

from sdg.data.seeded import Seeded
from sdg.data.stream import Stream
from sdg.errors import UserError

__all__ = ["Order", "Resumable"]


class Order(DistributedSampler):
    """torch's order of a data set for one process, which follows from seed and epoch.

    The first `passed` places of it are left out once.
    """

    passed = 0

    def __iter__(self) -> Iterator[int]:
        passed, self.passed = self.passed, 0
        return itertools.islice(super().__iter__(), passed, None)

    def of_epoch(self, epoch: int) -> list[int]:
        """The whole order of an epoch."""
        other = copy.copy(self)
        other.passed, other.epoch = 0, epoch
        return list(other)


class Resumable(DataLoader):
    """Gives the batches of an epoch that were not given before.

    Lightning keeps `state_dict` in its checkpoints.

    Arguments:
        dataset: a `Stream`, or `Seeded` images in an `Order`.
        epoch: tells which epoch begins.
        options: DataLoader's.
    """

    start = given = 0

    dataset: Stream | Seeded

    def __init__(self, dataset: Stream | Seeded, epoch: Callable[[], int], **options):
        super().__init__(dataset, **options)
        self.epoch = epoch

    # torch declares its own iterator here; any does.
    def __iter__(self) -> Iterator:  # type: ignore[override]
        self.given, self.start = self.start, 0  # this runs at the first batch
        self.dataset.set_epoch(self.epoch())
        if isinstance(self.dataset, Stream):
            self.dataset.done.fill_(self.given)
        else:
            self.order.passed = self.given * (self.batch_size or 1)
        try:
            for batch in super().__iter__():
                self.given += 1
                yield batch
        except UserError as error:
            # Its traceback would keep the readers, and then each takes 5 seconds to end.
            raise error.with_traceback(None) from None

    @property
    def images(self) -> int:
        """How many images the batch of every process holds together."""
        if isinstance(self.dataset, Stream):
            return self.dataset.batch_size * self.dataset.world
        return (self.batch_size or 1) * self.order.num_replicas

    @property
    def order(self) -> Order:
        """That of a data set which is no `Stream`."""
        if not isinstance(self.sampler, Order):
            raise TypeError(f"a Resumable takes an Order, not a {type(self.sampler).__name__}")
        return self.sampler

    def state_dict(self) -> dict:
        # In images: another run may have other batches, or another number of processes.
        return {"given": self.given * self.images}

    def load_state_dict(self, state: dict) -> None:
        self.start = state["given"] // self.images % len(self)
