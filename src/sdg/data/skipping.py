"""Images that cannot be read: named once, skipped up to a limit, counted at the end."""

import copy
import itertools
import sys
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from sdg.data.image import CROPS
from sdg.errors import UserError, choice, integer

__all__ = ["Skipping"]


class Skipping(Dataset):
    """A data set that puts the next image that can be read in the place of one that cannot.

    Arguments:
        size: number of images.
        crop, flip: as of `sdg.data.image.pixels`.
        max_broken: how many may be unreadable.
    """

    def __init__(self, size: int, crop: str, flip: bool, max_broken: int):
        self.crop, self.flip = (
            choice("data.crop", crop, CROPS),
            choice("data.flip", flip, (False, True)),
        )
        self.max_broken = integer("data.max_broken", max_broken, 0)
        self.among: Sequence[int] = range(
            size
        )  # what may stand in for one another: a part of a split sets its own
        self.broken = torch.zeros(
            size, dtype=torch.bool
        ).share_memory_()  # workers tell it to one another

    def __len__(self) -> int:
        return len(self.broken)

    def __getitem__(self, index: int) -> dict:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    @abstractmethod
    def __getitems__(self, indices: Sequence[int]) -> dict:
        """A batch."""

    def plain(self) -> "Skipping":
        """The same images, neither cropped at random nor mirrored.

        Both know what the other could not read.
        """
        other = copy.copy(self)
        other.crop, other.flip = "centre", False
        return other

    @abstractmethod
    def read_image(self, index: int) -> torch.Tensor:
        """One image; a `UserError` where it cannot be read."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What one image is called."""

    def readable(self, index: int) -> tuple[int, torch.Tensor]:
        """The image of this place, or else of the next of `among` that can be read, and its place.

        Raises:
            UserError: more cannot be read than are allowed, or none can.
        """
        for place in itertools.chain(
            [index], (i for i in self.among if i > index), (i for i in self.among if i < index)
        ):
            if self.broken[place]:
                continue
            try:
                return place, self.read_image(place)
            except UserError as error:
                self.broken[place] = True
                count = int(self.broken.sum())
                if count > self.max_broken:
                    raise UserError(
                        f"{error} Or skip it: data.max_broken={count}."
                        if count == 1
                        else f"{error} With it {count} images cannot be read, more than "
                        f"data.max_broken={self.max_broken}: {', '.join(self.names())}. Remove or "
                        "mend them, or raise that."
                    ) from error
                sys.stderr.write(f"skipped: {error}\n")  # in one piece: workers write at once
        raise UserError(f"none of the {len(self.among)} images of a part of the data can be read.")

    def names(self) -> list[str]:
        """What could not be read so far."""
        return [self.name(i) for i in self.broken.nonzero().flatten().tolist()]

    def skipped_report(self) -> str | None:
        """What was skipped, in a sentence; None for nothing."""
        names = self.names()
        return (
            f"{len(names)} of {len(self.broken)} images could not be read and were skipped: "
            f"{', '.join(names)}."
            if names
            else None
        )
