"""Data of one's own: a torch Dataset, or any LightningDataModule."""

import hashlib
from collections.abc import Sized
from functools import cached_property
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import Dataset

from sdg.data.datamodule import Data, ImageData
from sdg.data.own_items import Indexed, Items, ItemSubset, as_batch
from sdg.errors import UserError, number

__all__ = ["DatasetData", "LoaderData", "as_data"]


class DatasetData(Data):
    """Images of a torch Dataset.

    Arguments:
        dataset: of {`image`: (3, H, W) in [-1, 1]}, all of one size, and perhaps `caption`, a
            sentence or several, and `label`, a word.
        held_out: another such data set, or the share of the images, at random places, that is held
            out.
        batch_size, num_workers: of the loaders.
    """

    train: Items
    held_out: Items

    def __init__(
        self,
        dataset: Indexed,
        held_out: Indexed | float = 0.05,
        batch_size: int = 64,
        num_workers: int = 0,
    ):
        train, apart = parts_of(dataset, held_out)
        labels: list[str] = []
        if "label" in as_batch(train[0]):
            every = (part[i]["label"] for part in (train, apart) for i in range(len(part)))
            labels = sorted({str(label) for label in every})
        images = Items(train, labels)
        images.print_range()
        super().__init__(images.resolution, batch_size, num_workers)
        self.train, self.held_out = images, Items(apart, labels)

    @property
    def captions(self) -> list[str]:
        parts = [part for part in (self.train, self.held_out) if part.has_captions]
        places = [(part, i) for part in parts for i in range(len(part))]
        return [caption for part, i in places for caption in part.captions_of(i)]

    @cached_property
    def digest(self) -> str:
        images = (self.held_out[i]["image"] for i in range(len(self.held_out)))
        return digest_of(images)

    def identity(self) -> dict:
        return {"data": "dataset", "images": self.digest}


def parts_of(dataset: Indexed, held_out: Indexed | float) -> tuple[Indexed, Indexed]:
    """The images to train on, and the held-out ones.

    Arguments:
        held_out: the latter, or the share of `dataset` that they are.

    Raises:
        UserError: one has no length or no image, or the share is out of range.
    """
    for part in (dataset, held_out):
        if isinstance(part, Dataset) and not isinstance(part, Sized):
            raise UserError(
                f"{type(part).__name__} has no __len__, the number of its images, which a Dataset "
                "of one's own needs here; images that only stream go into a LightningDataModule."
            )
    if isinstance(held_out, Dataset):
        parts: tuple[Indexed, Indexed] = dataset, held_out
    else:
        share = number("data.held_out", held_out, 0.001, 0.5)
        order = np.random.default_rng(0).permutation(len(dataset)).tolist()
        count = max(1, round(share * len(dataset)))
        train, apart = sorted(order[count:]), sorted(order[:count])
        parts = ItemSubset(dataset, train), ItemSubset(dataset, apart)
    sizes = [len(part) for part in parts]
    if not all(sizes):
        raise UserError(
            f"{type(dataset).__name__} gives {sizes[0]} images to train on and {sizes[1]} held-out "
            "ones; at least one of each is needed."
        )
    return parts


class LoaderData(ImageData):
    """Any LightningDataModule whose batches are {`image`}, and perhaps {`caption`}.

    Its validation images are the held-out ones; they are kept in memory.

    Arguments:
        module: its batches give `image`, (B, 3, H, W) in [-1, 1], and perhaps `caption`, B
            sentences.
    """

    def __init__(self, module: pl.LightningDataModule):
        super().__init__()
        self.module = module

    def prepare_data(self) -> None:
        self.module.prepare_data()

    def setup(self, stage: str) -> None:
        self.module.trainer = self.trainer
        self.module.setup("fit" if stage == "fit" else "validate")

    def train_dataloader(self):
        return self.module.train_dataloader()

    def val_dataloader(self):
        return self.module.val_dataloader()

    @property
    def resolution(self) -> int:
        return self.held_out.resolution

    @cached_property
    def held_out(self) -> Items:
        self.module.prepare_data()
        self.module.setup("validate")
        items: list[dict] = []
        for batch in self.module.val_dataloader():
            rows = as_batch(batch)
            known = [name for name in ("image", "caption") if name in rows]
            columns = zip(*(rows[name] for name in known), strict=True)
            items += [dict(zip(known, row, strict=True)) for row in columns]
        if not items:
            raise UserError("the data's validation loader gives no image.")
        images = Items(items)
        images.print_range()
        return images

    @property
    def captions(self) -> list[str]:
        raise UserError(
            "the words of a LightningDataModule are not known beforehand: use "
            "encoder.tokenizer=bpe."
        )

    @cached_property
    def digest(self) -> str:
        items = self.held_out.items
        return digest_of(items[i]["image"] for i in range(len(items)))

    def identity(self) -> dict:
        return {"data": "loader", "images": self.digest}


def as_data(data, **loading) -> ImageData:
    """Data of any kind as the framework's own.

    Arguments:
        data: a LightningDataModule, or a torch Dataset.
        loading: options of `DatasetData`, for a Dataset alone.

    Raises:
        UserError: it is none of these, or a DataModule does not take an option.
    """
    if isinstance(data, Dataset):
        indexed: Any = data  # `DatasetData` refuses one without a length
        return DatasetData(indexed, **loading)
    loading.pop("batch_size", None)  # conf/training sets it for every data set
    if isinstance(data, pl.LightningDataModule):
        for name in loading:
            raise UserError(f"data.{name}: {type(data).__name__} has no such option.")
        return data if isinstance(data, ImageData) else LoaderData(data)
    raise UserError(
        f"data._target_ makes a {type(data).__name__}, but a LightningDataModule or a torch "
        "Dataset is needed; docs/extending.md says what it gives."
    )


def digest_of(images) -> str:
    """SHA-256 of images' bytes, in order, in hexadecimal."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(image.contiguous().numpy().tobytes())
    return digest.hexdigest()
