"""What torch's generator decides in a batch follows from its place, whoever fetches it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from sdg.data.image_set import ImageSet

__all__ = ["Seeded", "seeded"]


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seeds torch's generator of the CPU from a key of integers ≥ 0; afterwards it is as before."""
    before = torch.get_rng_state()
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0] >> 1))
    try:
        yield
    finally:
        torch.set_rng_state(before)


class Seeded(Dataset):
    """Batches of images whose captions, crops and flips follow from seed, epoch and first index.

    So a training that was interrupted goes on with those that it would have had; not where images
    of one's own draw from another generator than torch's.

    Arguments:
        images: whose batches are given.
        seed: an integer ≥ 0.
    """

    def __init__(self, images: ImageSet, seed: int):
        self.images, self.seed = images, seed
        # Shared with the workers, which live as long as the training.
        self.epoch = torch.zeros(1, dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        with seeded(self.seed, int(self.epoch), indices[0]):
            return self.images.__getitems__(indices)
