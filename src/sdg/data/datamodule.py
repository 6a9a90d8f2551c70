"""One DataModule for every data set: a training part and a held-out part."""

from abc import abstractmethod

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from sdg.data.image_set import ImageSet, NoImages
from sdg.data.loader import Order, Resumable
from sdg.errors import UserError, integer

__all__ = ["Data", "NoData"]


def whole(batch):
    """Data sets here fetch a batch at a time, so there is nothing left to collate."""
    return batch


class Data(pl.LightningDataModule):
    """Loaders over `self.train` and `self.held_out`, which subclasses set in `setup`."""

    words: tuple[str, ...] = ()  # all that its captions use, where that is known beforehand

    @property
    def captions(self) -> list[str]:
        """All of them; none where images have none."""
        return []

    def __init__(self, resolution: int, batch_size: int, num_workers: int):
        super().__init__()
        self.resolution = resolution
        self.batch_size = integer("data.batch_size", batch_size, 1)
        self.num_workers = integer("data.num_workers", num_workers, 0)
        self.train: Dataset | None = None
        self.held_out: ImageSet | None = None

    def setup(self, stage: str) -> None:
        # Not in train_dataloader: an error there leaves Lightning's changes to torch's DataLoader
        # in place, for a sweep's next job too.
        world, _ = self.place()
        if stage == "fit" and len(self.train) // world < self.batch_size:
            raise UserError(
                f"data.batch_size={self.batch_size} is more than the {len(self.train)} training "
                f"images{f' that {world} processes share' if world > 1 else ''}; lower it."
            )

    @abstractmethod
    def identity(self) -> dict:
        """What its held-out images follow from; other images have another."""

    def print_skipped(self) -> None:
        """Prints what was skipped; at the end of a run."""
        for told in self.skipped_report():
            print(told)

    def skipped_report(self) -> list[str]:
        """What was skipped, a sentence for each part."""
        return []

    def train_dataloader(self) -> DataLoader:
        world, rank = self.place()
        order = Order(
            self.train, world, rank, shuffle=True, seed=torch.initial_seed() % 2**32, drop_last=True
        )
        return Resumable(
            self.train,
            self.epoch,
            batch_size=self.batch_size,
            sampler=order,
            drop_last=True,
            **self.loading(),
        )

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.held_out, self.batch_size, **self.loading())

    def loading(self) -> dict:
        return {
            "num_workers": self.num_workers,
            "collate_fn": whole,
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
