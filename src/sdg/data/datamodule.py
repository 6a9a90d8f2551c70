"""One DataModule for every data set: a training part and a held-out part."""

import os
from abc import abstractmethod
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from sdg.data.image_set import ImageSet, NoImages
from sdg.data.loader import Order, Resumable
from sdg.data.seeded import Seeded
from sdg.data.stream import Stream
from sdg.data.workers import serve
from sdg.errors import UserError, integer

__all__ = ["Data", "ImageData", "NoData", "require_setup"]

Part = TypeVar("Part")
NAMED = 8  # images of a batch that are named


def whole(batch):
    """Data sets here fetch a batch at a time, so there is nothing left to collate."""
    return batch


def require_setup(part: Part | None) -> Part:
    """A part of the data, which `setup` has loaded."""
    if part is None:
        raise RuntimeError("the data has not been set up: call its setup first")
    return part


class ImageData(pl.LightningDataModule):
    """What the framework asks of data.

    Attributes:
        resolution: side of the images in pixels.
        train: the images to train on; None before `setup`, and where they are not the framework's.
        held_out: the held-out images; None before `setup`.
    """

    train: ImageSet | Stream | None = None

    @property
    @abstractmethod
    def resolution(self) -> int: ...

    @property
    @abstractmethod
    def held_out(self) -> ImageSet | None: ...

    @property
    def words(self) -> tuple[str, ...]:
        """All that its captions use, where that is known beforehand."""
        return ()

    @property
    def captions(self) -> list[str]:
        """All of them; none where images have none."""
        return []

    @abstractmethod
    def identity(self) -> dict:
        """What its held-out images follow from; other images have another."""

    def describe_batch(self, epoch: int, batch: int) -> str:
        """A batch of training images in words, such as "batch 3 of epoch 0"."""
        return f"batch {batch} of epoch {epoch}"

    def print_skipped(self) -> None:
        """Prints what was skipped; at the end of a run."""
        for sentence in self.skipped_report():
            print(sentence)

    def skipped_report(self) -> list[str]:
        """What was skipped, a sentence for each part."""
        return []


class Data(ImageData):
    """Loaders over `self.train` and `self.held_out`, which subclasses set in `setup`.

    The order of training images, and what chance decides of each, follow from the seed of
    Lightning's `seed_everything`; without one from torch's seed when this is made.
    """

    resolution: int = 0
    held_out: ImageSet | None = None
    order: Order | None = None  # of the training images, once they are asked for

    def __init__(self, resolution: int, batch_size: int, num_workers: int):
        super().__init__()
        self.resolution = resolution
        self.batch_size = integer("data.batch_size", batch_size, 1)
        self.num_workers = integer("data.num_workers", num_workers, 0)
        self.own_seed = torch.initial_seed() % 2**32

    def setup(self, stage: str) -> None:
        # Not in train_dataloader: an error there leaves Lightning's changes to torch's DataLoader
        # in place, for a sweep's next job too.
        if stage != "fit":
            return
        world, _ = self.place()
        count = len(self.train or ())
        if count // world < self.batch_size:
            raise UserError(
                f"batch_size={self.batch_size} is more than the {count} training "
                f"images{f' that {world} processes share' if world > 1 else ''}; lower it, on the "
                "command line by data.batch_size."
            )

    def train_dataloader(self) -> DataLoader:
        images: Any = require_setup(self.train)  # a Stream has a loader of its own
        world, rank = self.place()
        # Of `seed_everything`, as Lightning's own samplers take it; torch's generator is seeded
        # every step.
        seed = int(os.environ.get("PL_GLOBAL_SEED", self.own_seed))
        order = Order(images, world, rank, shuffle=True, seed=seed, drop_last=True)
        self.order = order
        return Resumable(
            Seeded(images, seed),
            self.epoch,
            batch_size=self.batch_size,
            sampler=order,
            drop_last=True,
            **self.loading(),
        )

    def describe_batch(self, epoch: int, batch: int) -> str:
        words = super().describe_batch(epoch, batch)
        if self.order is None or not isinstance(self.train, ImageSet):
            return words
        start = batch * self.batch_size
        images = self.order.of_epoch(epoch)[start : start + self.batch_size]
        names = ", ".join(self.train.name(i) for i in images[:NAMED])
        more = f" and {len(images) - NAMED} more" if len(images) > NAMED else ""
        return f"{words}, images {names}{more}"

    def val_dataloader(self) -> DataLoader:
        images = Seeded(require_setup(self.held_out), seed=0)
        return DataLoader(images, self.batch_size, **self.loading())

    def loading(self) -> dict:
        return {
            "num_workers": self.num_workers,
            "collate_fn": whole,
            "worker_init_fn": serve,
            "persistent_workers": self.num_workers > 0,
        }

    def place(self) -> tuple[int, int]:
        """How many processes train, and which of them this is."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0


class NoData(Data):
    """No images: for sampling that is compared with none.

    Arguments:
        resolution: side of the images that are drawn.
    """

    def __init__(self, resolution: int):
        super().__init__(resolution, 1, 0)
        self.held_out = NoImages()

    def setup(self, stage: str) -> None:
        if stage == "fit":
            raise UserError("data=none has no images to train on; use data=folder data.root=PATH.")

    def identity(self) -> dict:
        return {"data": "none"}
