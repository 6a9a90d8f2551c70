"""A folder of images as a DataModule."""

import hashlib

from sdg.data.folder import ImageFolder
from sdg.data.split_data import SplitData

__all__ = ["FolderData"]


class FolderData(SplitData):
    """Images of a folder.

    Arguments:
        root: searched with its sub-folders.
        resolution: side to which images are scaled and cropped.
        held_out: the fraction that is held out.
        captions, labels, max_broken: as of `ImageFolder`.
        crop, flip: of training images; held-out ones are the centre, as they are.
    """

    def __init__(
        self,
        root: str,
        resolution: int = 32,
        held_out: float = 0.05,
        captions: bool = False,
        labels: bool | str = False,
        crop: str = "centre",
        flip: bool = False,
        max_broken: int = 10,
        batch_size: int = 64,
        num_workers: int = 0,
    ):
        super().__init__(
            ImageFolder(root, resolution, captions, labels, crop, flip, max_broken),
            held_out,
            batch_size,
            num_workers,
        )

    def identity(self) -> dict:
        files = [self.images.files[i] for i in self.held_out.indices]
        lines = [f"{file} {(seen := file.stat()).st_size} {seen.st_mtime_ns}\n" for file in files]
        return {
            "data": "folder",
            "files": hashlib.sha256("".join(lines).encode()).hexdigest(),
            "resolution": self.resolution,
        }

    def skipped_report(self) -> list[str]:
        report = self.images.skipped_report()
        return [report] if report else []
