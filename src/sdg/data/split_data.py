"""Images of which each decides by itself whether it is held out."""

import copy
import hashlib

from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import Subset

from sdg.data.datamodule import Data
from sdg.data.image_set import ImageSet
from sdg.errors import UserError, number

__all__ = ["CaptionedData", "SplitData", "SplitSubset"]


class CaptionedData(Data):
    """Data that may have captions of its own.

    They are in `self.train` and `self.held_out`, two `SplitSubset`s.
    """

    @property
    def captions(self) -> list[str]:
        """All of them.

        Raises:
            UserError: they are not known.
        """
        self.setup("predict")
        parts = (self.train, self.held_out)
        if not all(part.dataset.knows_captions for part in parts):
            raise UserError("training a CLIP needs captions: leave data.captions=true.")
        return [
            caption
            for part in parts
            for i in part.indices
            for caption in part.dataset.captions_of(i)
        ]


class SplitData(CaptionedData):
    """A set of images, a share of which is held out.

    Each image itself decides, so that none changes sides when others are added.

    Arguments:
        images: with `plain`, and the `mark` of each that decides; those with one mark stand on one
            side.
        held_out: the share.
    """

    def __init__(self, images, held_out: float, batch_size: int, num_workers: int):
        super().__init__(images.resolution, batch_size, num_workers)
        self.images, share = images, number("data.held_out", held_out, 0.001, 0.5)
        marks = [
            int.from_bytes(hashlib.sha256(images.mark(i)).digest()[:8], "big")
            for i in range(len(images))
        ]
        bound = share * 2**64
        if min(marks) >= bound:
            bound = min(marks) + 1
            rank_zero_only(print)(
                f"data.held_out={share:g} of {len(images)} images is none by their names, so one "
                "is held out: "
                f"{ascii(images.mark(marks.index(min(marks))).decode(errors='replace'))[1:-1]}. "
                "Images that are added later may take its place; a larger share stays as it is."
            )
        apart = [mark < bound for mark in marks]
        self.held_out = SplitSubset(images.plain(), [i for i, out in enumerate(apart) if out])
        self.train = SplitSubset(images, [i for i, out in enumerate(apart) if not out])


class SplitSubset(Subset, ImageSet):
    """Some images, with what is known of them."""

    def __init__(self, images, indices: list[int]):
        images = copy.copy(images)
        images.among = indices
        super().__init__(images, indices)
        self.classes, self.has_captions = images.classes, images.knows_captions

    def caption(self, index: int, variant: int = 0, named=None) -> str:
        said = self.dataset.captions_of(self.indices[index])
        return said[variant % len(said)]

    def class_of(self, index: int) -> str:
        return self.dataset.labels[self.indices[index]]
