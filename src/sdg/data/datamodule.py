"""One DataModule for every data set: a training part and a held-out part."""

import copy
import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader, Subset

from sdg.data import captions, portrait_captions
from sdg.data.emoji import CLDR, Emoji
from sdg.data.folder import ImageFolder
from sdg.data.known import TorchvisionDataset
from sdg.data.loader import Order, Resumable
from sdg.data.portraits import Portraits
from sdg.data.shapes import Shapes
from sdg.errors import UserError, choice, integer, number

__all__ = ["Data", "EmojiData", "FolderData", "KnownData", "NoData", "PortraitsData", "ShapesData"]

VOCABULARY = 5000  # captions from which the words of a style are collected


def whole(batch):
    """Data sets here fetch a batch at a time, so there is nothing left to collate."""
    return batch


class Data(pl.LightningDataModule):
    """Loaders over `self.train` and `self.held_out`, which subclasses set in `setup`."""

    words: tuple[str, ...] = ()  # all that its captions use, where that is known beforehand

    def __init__(self, resolution: int, batch_size: int, num_workers: int):
        super().__init__()
        self.resolution = resolution
        self.batch_size = integer("data.batch_size", batch_size, 1)
        self.num_workers = integer("data.num_workers", num_workers, 0)

    def setup(self, stage: str) -> None:
        # Not in train_dataloader: an error there leaves Lightning's changes to torch's DataLoader in place, for a sweep's next job too.
        world, _ = self.place()
        if stage == "fit" and len(self.train) // world < self.batch_size:
            raise UserError(f"data.batch_size={self.batch_size} is more than the {len(self.train)} training images{f' that {world} processes share' if world > 1 else ''}; lower it.")

    @abstractmethod
    def identity(self) -> dict:
        """What its held-out images follow from; other images have another."""

    def tell(self) -> None:
        """Prints what was skipped; at the end of a run."""
        for told in self.told():
            print(told)

    def told(self) -> list[str]:
        """What was skipped, a sentence for each part."""
        return []

    def train_dataloader(self) -> DataLoader:
        world, rank = self.place()
        order = Order(self.train, world, rank, shuffle=True, seed=torch.initial_seed() % 2**32, drop_last=True)
        return Resumable(self.train, self.epoch, batch_size=self.batch_size, sampler=order, drop_last=True, **self.loading())

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.held_out, self.batch_size, **self.loading())

    def loading(self) -> dict:
        return {"num_workers": self.num_workers, "collate_fn": whole, "persistent_workers": self.num_workers > 0}

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
        self.held_out: list = []

    def setup(self, stage: str) -> None:
        if stage == "fit":
            raise UserError("data=none has no images to train on; use data=folder data.root=PATH.")

    def identity(self) -> dict:
        return {"data": "none"}


class ShapesData(Data):
    """The embedded data; the held-out images, and the judge's, have seeds of their own.

    Arguments:
        resolution: side of the images in pixels.
        size: number of training images.
        held_out: number of held-out images.
        seed: of the training images; held-out images use seed + 1.
        cache: folder of rendered images.
        captions: give captions with the images.
        masks: give the object's masks with the images.
    """

    words = captions.WORDS

    def __init__(self, resolution: int = 32, size: int = 50_000, held_out: int = 2_000, seed: int = 0,
                 cache: str | None = None, captions: bool = False, masks: bool = False, batch_size: int = 64, num_workers: int = 0):
        super().__init__(resolution, batch_size, num_workers)
        self.extras = {"captions": captions, "masks": masks}
        self.sizes, self.seed, self.cache = (size, held_out), integer("data.seed", seed, 0), cache

    def identity(self) -> dict:
        return {"data": "shapes-2", "seed": self.held_out.seed, "size": len(self.held_out), "resolution": self.resolution}

    def prepare_data(self) -> None:
        self.setup("fit")  # renders once, on one process of each machine

    def setup(self, stage: str) -> None:
        if not hasattr(self, "held_out"):
            self.held_out = Shapes(self.sizes[1], self.seed + 1, self.resolution, self.cache, **self.extras)
        if stage == "fit" and not hasattr(self, "train"):
            self.train = Shapes(self.sizes[0], self.seed, self.resolution, self.cache, **self.extras)
        super().setup(stage)


class PortraitsData(Data):
    """Cartoon portraits; the held-out images, and the held-out combinations, have seeds of their own.

    Arguments:
        resolution: side of the images in pixels.
        size: number of training images.
        held_out: number of held-out images; of combinations there are a quarter as many.
        seed: of the training images; held-out images use seed + 1, combinations seed + 2.
        style: of DiceBear, or several.
        split: what sampling takes prompts and references from, and compares samples with:
            `held_out`, or `combinations`: images that show a pair of values that no other part has.
        cache: folder of rendered images.
        captions: give captions with the images.
    """

    def __init__(
        self, resolution: int = 64, size: int = 50_000, held_out: int = 2_000, seed: int = 0,
        style: str | Sequence[str] = "avataaars", split: str = "held_out", cache: str | None = None,
        captions: bool = False, batch_size: int = 32, num_workers: int = 0,
    ):
        super().__init__(resolution, batch_size, num_workers)
        self.style, self.split = style, choice("data.split", split, ("held_out", "combinations"))
        self.sizes, self.seed = (size, integer("data.held_out", held_out, 1)), integer("data.seed", seed, 0)
        self.extras = {"cache": cache, "captions": captions, "style": style}

    @property
    def words(self) -> tuple[str, ...]:
        """Those of the captions; of a style that was not chosen by hand, none are known beforehand."""
        return portrait_captions.WORDS if self.style == "avataaars" else ()

    @property
    def captions(self) -> list[str]:
        """Captions in many wordings, from which a vocabulary is made: of all that an image shows, and of parts of it."""
        self.setup("fit")
        names, count = list(self.train.attributes), len(self.train)
        every = [caption for captions in self.train.classes.values() for caption in captions.values()]
        for k in range(VOCABULARY):
            every += [self.train.caption(k % count, k, names), self.train.caption(k % count, k)]
        return every

    def part(self, size: int, seed: int, combinations: bool = False) -> Portraits:
        return Portraits(size, seed, self.resolution, combinations=combinations, **self.extras)

    @cached_property
    def combinations(self) -> Portraits:
        """Images that show a held-out pair."""
        return self.part(max(self.sizes[1] // 4, 1), self.seed + 2, combinations=True)

    def identity(self) -> dict:
        held_out = self.held_out
        style = {} if held_out.style.name == "avataaars" else {"style": held_out.style.key}
        split = {"split": "combinations"} if held_out.combinations else {}
        return {"data": "portraits-1", "seed": held_out.seed, "size": len(held_out), "resolution": self.resolution} | style | split

    def prepare_data(self) -> None:
        self.setup("fit")
        for part in (self.train, self.held_out):
            part.images  # renders once, on one process of each machine

    def setup(self, stage: str) -> None:
        if not hasattr(self, "held_out"):
            sampling = stage in ("predict", "test")
            self.held_out = self.combinations if sampling and self.split == "combinations" else self.part(self.sizes[1], self.seed + 1)
        if stage == "fit" and not hasattr(self, "train"):
            self.train = self.part(self.sizes[0], self.seed)
        super().setup(stage)


class Pictures(Data):
    """Data that may have captions of its own, in `self.train` and `self.held_out`, two `SplitSubset`s."""

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
        return [caption for part in parts for i in part.indices for caption in part.dataset.captions_of(i)]


class Split(Pictures):
    """A set of images, a share of which is held out as each image itself decides, so that none changes sides when others are added.

    Arguments:
        images: with `plain`, and the `mark` of each that decides; those with one mark stand on one side.
        held_out: the share.
    """

    def __init__(self, images, held_out: float, batch_size: int, num_workers: int):
        super().__init__(images.resolution, batch_size, num_workers)
        self.images, share = images, number("data.held_out", held_out, 0.001, 0.5)
        marks = [int.from_bytes(hashlib.sha256(images.mark(i)).digest()[:8], "big") for i in range(len(images))]
        bound = share * 2**64
        if min(marks) >= bound:
            bound = min(marks) + 1
            rank_zero_only(print)(f"data.held_out={share:g} of {len(images)} images is none by their names, so one is held out: {ascii(images.mark(marks.index(min(marks))).decode(errors='replace'))[1:-1]}. "
                                  "Images that are added later may take its place; a larger share stays as it is.")
        apart = [mark < bound for mark in marks]
        self.held_out = SplitSubset(images.plain(), [i for i, out in enumerate(apart) if out])
        self.train = SplitSubset(images, [i for i, out in enumerate(apart) if not out])


class SplitSubset(Subset):
    """Some images, with what is known of them."""

    def __init__(self, images, indices: list[int]):
        images = copy.copy(images)
        images.among = indices
        super().__init__(images, indices)
        self.classes = images.classes
        if images.knows_captions:
            self.caption = self.caption_of
        if images.classes:
            self.class_of = self.label_of

    def caption_of(self, index: int, variant: int = 0, named=None) -> str:
        said = self.dataset.captions_of(self.indices[index])
        return said[variant % len(said)]

    def label_of(self, index: int) -> str:
        return self.dataset.labels[self.indices[index]]


class FolderData(Split):
    """Images of a folder.

    Arguments:
        root: searched with its sub-folders.
        resolution: side to which images are scaled and cropped.
        held_out: the fraction that is held out.
        captions, labels, max_broken: as of `ImageFolder`.
        crop, flip: of training images; held-out ones are the centre, as they are.
    """

    def __init__(self, root: str, resolution: int = 32, held_out: float = 0.05, captions: bool = False, labels: bool | str = False, crop: str = "centre", flip: bool = False,
                 max_broken: int = 10, batch_size: int = 64, num_workers: int = 0):
        super().__init__(ImageFolder(root, resolution, captions, labels, crop, flip, max_broken), held_out, batch_size, num_workers)

    def identity(self) -> dict:
        files = [self.images.files[i] for i in self.held_out.indices]
        told = "".join(f"{file} {(seen := file.stat()).st_size} {seen.st_mtime_ns}\n" for file in files)
        return {"data": "folder", "files": hashlib.sha256(told.encode()).hexdigest(), "resolution": self.resolution}

    def told(self) -> list[str]:
        return [told] if (told := self.images.told()) else []


class EmojiData(Split):
    """The emoji of an installed colour font.

    Arguments:
        resolution, captions, flip, font, cldr, cache: as of `Emoji`.
        held_out: the fraction that is held out, each with all its tones of skin.
    """

    def __init__(self, resolution: int = 64, held_out: float = 0.05, captions: bool = False, flip: bool = False, font: str | None = None, cldr: str = CLDR,
                 cache: str | None = None, batch_size: int = 64, num_workers: int = 0):
        super().__init__(Emoji(resolution, captions, flip, font, cldr, cache), held_out, batch_size, num_workers)

    def identity(self) -> dict:
        names = "\n".join(self.images.emoji[i].text for i in self.held_out.indices)
        return {"data": "emoji", "font": self.images.font_mark, "names": hashlib.sha256(names.encode()).hexdigest(), "resolution": self.resolution}


class KnownData(Pictures):
    """A data set that torchvision has, with the split that it came with.

    Arguments:
        name, root, category, resolution, captions, download, max_broken: as of `TorchvisionDataset`.
        crop, flip: of training images; held-out ones are the centre, as they are.
    """

    def __init__(self, name: str, root: str, category: str = "bedroom", resolution: int = 32, captions: bool = False, crop: str = "centre", flip: bool = False, download: bool = False,
                 max_broken: int = 10, batch_size: int = 64, num_workers: int = 0):
        super().__init__(resolution, batch_size, num_workers)
        self.name, self.download = name, choice("data.download", download, (False, True))
        self.options, self.augmented = {"name": name, "root": root, "category": category, "resolution": resolution, "captions": captions, "max_broken": max_broken}, {"crop": crop, "flip": flip}

    def prepare_data(self) -> None:
        for train in (True, False):  # once, on one process of each machine
            TorchvisionDataset(train=train, download=self.download, **self.options)

    def setup(self, stage: str) -> None:
        if not hasattr(self, "held_out"):
            alone = {"download": self.download and self.trainer is None}
            train, held_out = TorchvisionDataset(train=True, **self.augmented, **alone, **self.options), TorchvisionDataset(train=False, **alone, **self.options)
            self.train, self.held_out = SplitSubset(train, range(len(train))), SplitSubset(held_out, range(len(held_out)))
        super().setup(stage)

    def told(self) -> list[str]:
        return [told for part in (self.train, self.held_out) if (told := part.dataset.told())]

    def identity(self) -> dict:
        return {"data": self.name, "category": self.options["category"] if self.name == "lsun" else None, "size": len(self.held_out), "resolution": self.resolution}
