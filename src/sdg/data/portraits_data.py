"""The portraits as a DataModule."""

from collections.abc import Sequence
from functools import cached_property

from sdg.data import portrait_captions
from sdg.data.datamodule import Data, require_setup
from sdg.data.part_seed import part_seed
from sdg.data.portraits import Portraits
from sdg.errors import choice, integer

__all__ = ["PortraitsData"]

VOCABULARY = 5000  # captions from which the words of a style are collected


class PortraitsData(Data):
    """Cartoon portraits.

    The held-out images, and the held-out combinations, have seeds of their own.

    Arguments:
        resolution: side of the images in pixels.
        size: number of training images.
        held_out: number of held-out images; of combinations there are a quarter as many.
        seed: of the data; no other seed shares an image with it (`part_seed`).
        style: of DiceBear, or several.
        split: what sampling takes prompts and references from, and compares samples with:
            `held_out`, or `combinations`: images that show a pair of values that no other part has.
        cache: folder of rendered images.
        captions: give captions with the images.
        hard_negatives: captions that are wrong in one value, given with each training image's.
    """

    train: Portraits | None = None
    held_out: Portraits | None = None

    def __init__(
        self,
        resolution: int = 64,
        size: int = 50_000,
        held_out: int = 2_000,
        seed: int = 0,
        style: str | Sequence[str] = "avataaars",
        split: str = "held_out",
        cache: str | None = None,
        captions: bool = False,
        hard_negatives: int = 0,
        batch_size: int = 32,
        num_workers: int = 0,
    ):
        super().__init__(resolution, batch_size, num_workers)
        self.style, self.split = style, choice("data.split", split, ("held_out", "combinations"))
        self.sizes = size, integer("data.held_out", held_out, 1)
        self.seed = integer("data.seed", seed, 0)
        self.cache, self.with_captions = cache, captions
        self.hard_negatives = hard_negatives

    @property
    def words(self) -> tuple[str, ...]:
        """The words that captions use.

        Of a style that was not chosen by hand, none are known beforehand.
        """
        return portrait_captions.WORDS if self.style == "avataaars" else ()

    @property
    def captions(self) -> list[str]:
        """Captions in many wordings, from which a vocabulary is made.

        They are of all that an image shows, and of parts of it.
        """
        self.setup("fit")
        train = require_setup(self.train)
        names, count = list(train.attributes), len(train)
        every: list[str] = []
        for captions in train.classes.values():
            every += captions.values()
        for k in range(VOCABULARY):
            every += [train.caption(k % count, k, names), train.caption(k % count, k)]
        return every

    def part(
        self, size: int, seed: int, combinations: bool = False, hard_negatives: int = 0
    ) -> Portraits:
        """So many images of a seed; `combinations` and `hard_negatives` as of `Portraits`."""
        return Portraits(
            size,
            seed,
            self.resolution,
            self.cache,
            self.with_captions,
            combinations,
            self.style,
            hard_negatives,
        )

    @cached_property
    def combinations(self) -> Portraits:
        """Images that show a held-out pair."""
        seed = part_seed(self.seed, "combinations")
        return self.part(max(self.sizes[1] // 4, 1), seed, combinations=True)

    def identity(self) -> dict:
        held_out = require_setup(self.held_out)
        style = {} if held_out.style.name == "avataaars" else {"style": held_out.style.key}
        split = {"split": "combinations"} if held_out.combinations else {}
        return (
            {
                "data": "portraits-1",
                "seed": held_out.seed,
                "size": len(held_out),
                "resolution": self.resolution,
            }
            | style
            | split
        )

    def prepare_data(self) -> None:
        self.setup("fit")
        for part in (require_setup(self.train), require_setup(self.held_out)):
            _ = part.images  # renders once, on one process of each machine

    def setup(self, stage: str) -> None:
        if self.held_out is None:
            sampling = stage in ("predict", "test")
            self.held_out = (
                self.combinations
                if sampling and self.split == "combinations"
                else self.part(self.sizes[1], part_seed(self.seed, "held_out"))
            )
        if stage == "fit" and self.train is None:
            seed = part_seed(self.seed, "train")
            self.train = self.part(self.sizes[0], seed, hard_negatives=self.hard_negatives)
        super().setup(stage)
