"""Data sets of torchvision as DataModules."""

from typing import Any

from sdg.data.datamodule import require_setup
from sdg.data.known import TorchvisionDataset
from sdg.data.split_data import CaptionedData, SplitSubset
from sdg.errors import choice

__all__ = ["TorchvisionData"]


class TorchvisionData(CaptionedData):
    """A data set that torchvision has, with the split that it came with.

    Arguments:
        name, root, category, resolution, captions, download, max_broken: as of
            `TorchvisionDataset`.
        crop, flip: of training images; held-out ones are the centre, as they are.
    """

    def __init__(
        self,
        name: str,
        root: str,
        category: str = "bedroom",
        resolution: int = 32,
        captions: bool = False,
        crop: str = "centre",
        flip: bool = False,
        download: bool = False,
        max_broken: int = 10,
        batch_size: int = 64,
        num_workers: int = 0,
    ):
        super().__init__(resolution, batch_size, num_workers)
        self.name, self.download = name, choice("data.download", download, (False, True))
        self.category = category
        self.options: dict[str, Any] = {
            "name": name,
            "root": root,
            "category": category,
            "resolution": resolution,
            "captions": captions,
            "max_broken": max_broken,
        }
        self.augmentation: dict[str, Any] = {"crop": crop, "flip": flip}

    def prepare_data(self) -> None:
        for train in (True, False):  # once, on one process of each machine
            TorchvisionDataset(train=train, download=self.download, **self.options)

    def setup(self, stage: str) -> None:
        if self.held_out is None:
            options = self.options | {"download": self.download and self.trainer is None}
            train = TorchvisionDataset(train=True, **self.augmentation, **options)
            held_out = TorchvisionDataset(train=False, **options)
            self.train = SplitSubset(train, range(len(train)))
            self.held_out = SplitSubset(held_out, range(len(held_out)))
        super().setup(stage)

    def skipped_report(self) -> list[str]:
        parts = (require_setup(self.train), require_setup(self.held_out))
        return [report for part in parts if (report := part.dataset.skipped_report())]

    def identity(self) -> dict:
        return {
            "data": self.name,
            "category": self.category if self.name == "lsun" else None,
            "size": len(require_setup(self.held_out)),
            "resolution": self.resolution,
        }
