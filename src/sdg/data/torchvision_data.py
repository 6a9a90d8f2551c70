"""Data sets of torchvision as DataModules."""

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
        self.options, self.augmented = (
            {
                "name": name,
                "root": root,
                "category": category,
                "resolution": resolution,
                "captions": captions,
                "max_broken": max_broken,
            },
            {"crop": crop, "flip": flip},
        )

    def prepare_data(self) -> None:
        for train in (True, False):  # once, on one process of each machine
            TorchvisionDataset(train=train, download=self.download, **self.options)

    def setup(self, stage: str) -> None:
        if self.held_out is None:
            alone = {"download": self.download and self.trainer is None}
            train, held_out = (
                TorchvisionDataset(train=True, **self.augmented, **alone, **self.options),
                TorchvisionDataset(train=False, **alone, **self.options),
            )
            self.train, self.held_out = (
                SplitSubset(train, range(len(train))),
                SplitSubset(held_out, range(len(held_out))),
            )
        super().setup(stage)

    def skipped_report(self) -> list[str]:
        return [
            told for part in (self.train, self.held_out) if (told := part.dataset.skipped_report())
        ]

    def identity(self) -> dict:
        return {
            "data": self.name,
            "category": self.options["category"] if self.name == "lsun" else None,
            "size": len(self.held_out),
            "resolution": self.resolution,
        }
