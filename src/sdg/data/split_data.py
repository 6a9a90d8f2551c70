"""Images of which each decides by itself whether it is held out."""

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from sdg.data.datamodule import Data, require_setup
from sdg.data.image_set import ImageSet
from sdg.errors import UserError, number

__all__ = ["CaptionedData", "SplitData", "SplitSubset"]


class CaptionedData(Data):
    """Data that may have captions of its own.

    They are in `self.train` and `self.held_out`, two `SplitSubset`s.
    """

    train: "SplitSubset | None" = None
    held_out: "SplitSubset | None" = None

    @property
    def captions(self) -> list[str]:
        """All of them.

        Raises:
            UserError: they are not known.
        """
        self.setup("predict")
        parts = (require_setup(self.train), require_setup(self.held_out))
        if not all(part.has_captions for part in parts):
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
        images: with `plain`, and the `split_key` of each that decides; those with one key stand on
            one side.
        held_out: the share.
    """

    train: "SplitSubset"
    held_out: "SplitSubset"

    def __init__(self, images: Any, held_out: float, batch_size: int, num_workers: int):
        super().__init__(images.resolution, batch_size, num_workers)
        self.images, share = images, number("data.held_out", held_out, 0.001, 0.5)
        places = [
            int.from_bytes(hashlib.sha256(images.split_key(i)).digest()[:8], "big")
            for i in range(len(images))
        ]
        bound = share * 2**64
        if min(places) >= bound:
            bound = min(places) + 1
            key = images.split_key(places.index(min(places))).decode(errors="replace")
            rank_zero_only(print)(
                f"data.held_out={share:g} of {len(images)} images is none by their names, so one "
                f"is held out: {ascii(key)[1:-1]}. "
                "Images that are added later may take its place; a larger share stays as it is."
            )
        apart = [place < bound for place in places]
        self.held_out = SplitSubset(images.plain(), [i for i, out in enumerate(apart) if out])
        self.train = SplitSubset(images, [i for i, out in enumerate(apart) if not out])

    def setup(self, stage: str) -> None:
        if stage == "fit" and not len(self.train):
            raise UserError(f"no training image is left: {self.why_none()}; add images.")
        super().setup(stage)

    def why_none(self) -> str:
        """What became of the images where none is left to train on."""
        unreadable = [i for i in range(len(self.images)) if not self.is_readable(i)]
        if unreadable:
            names = ", ".join(self.images.name(i) for i in unreadable)
            return f"of {len(self.images)} in all {len(unreadable)} cannot be read ({names})"
        return f"the {len(self.images)} that there are are held out"

    def is_readable(self, index: int) -> bool:
        try:
            self.images.read_image(index)
        except UserError:
            return False
        return True


class SplitSubset(ImageSet):
    """Some images, with what is known of them.

    Arguments:
        images: a data set that fetches a batch at a time, with `knows_captions` and `classes`; with
            `captions_of` and `labels` where it has these.
        indices: of those that belong to this part.
    """

    def __init__(self, images: Any, indices: Sequence[int]):
        self.dataset, self.indices = copy.copy(images), indices
        self.dataset.among = indices
        self.classes, self.has_captions = images.classes, images.knows_captions

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        return self.dataset.__getitems__([self.indices[i] for i in indices])

    def name(self, index: int) -> str:
        return self.dataset.name(self.indices[index])

    def caption(self, index: int, variant: int = 0, named=None) -> str:
        captions = self.dataset.captions_of(self.indices[index])
        return captions[variant % len(captions)]

    def class_name(self, index: int) -> str:
        return self.dataset.labels[self.indices[index]]
