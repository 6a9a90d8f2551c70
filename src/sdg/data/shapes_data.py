"""The embedded shapes as a DataModule."""

from sdg.data import captions
from sdg.data.datamodule import Data, require_setup
from sdg.data.part_seed import part_seed
from sdg.data.shapes import Shapes
from sdg.errors import integer

__all__ = ["ShapesData"]


class ShapesData(Data):
    """The embedded data; the held-out images, and the judge's, have seeds of their own.

    Arguments:
        resolution: side of the images in pixels.
        size: number of training images.
        held_out: number of held-out images.
        seed: of the data; no other seed shares an image with it (`part_seed`).
        cache: folder of rendered images.
        captions: give captions with the images.
        masks: give the object's masks with the images.
    """

    words = captions.WORDS
    train: Shapes | None = None
    held_out: Shapes | None = None

    def __init__(
        self,
        resolution: int = 32,
        size: int = 50_000,
        held_out: int = 2_000,
        seed: int = 0,
        cache: str | None = None,
        captions: bool = False,
        masks: bool = False,
        batch_size: int = 64,
        num_workers: int = 0,
    ):
        super().__init__(resolution, batch_size, num_workers)
        self.extras = {"captions": captions, "masks": masks}
        self.sizes, self.seed, self.cache = (size, held_out), integer("data.seed", seed, 0), cache

    def identity(self) -> dict:
        return {
            "data": "shapes-2",
            "seed": require_setup(self.held_out).seed,
            "size": len(require_setup(self.held_out)),
            "resolution": self.resolution,
        }

    def prepare_data(self) -> None:
        self.setup("fit")  # renders once, on one process of each machine

    def setup(self, stage: str) -> None:
        if self.held_out is None:
            seed = part_seed(self.seed, "held_out")
            self.held_out = Shapes(self.sizes[1], seed, self.resolution, self.cache, **self.extras)
        if stage == "fit" and self.train is None:
            seed = part_seed(self.seed, "train")
            self.train = Shapes(self.sizes[0], seed, self.resolution, self.cache, **self.extras)
        super().setup(stage)
