"""Data of one's own: a torch Dataset, or any LightningDataModule."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from sdg.data.datamodule import Data
from sdg.data.image_set import ImageSet
from sdg.errors import UserError, number

__all__ = ["DatasetData", "LoaderData", "as_data"]


class Items(ImageSet):
    """A torch Dataset whose items are {`image`}, and perhaps {`caption`, `label`}.

    Arguments:
        items: gives for an index `image`, (3, H, W) in [-1, 1]; `caption`, a sentence or several;
            `label`, a word.
        labels: all that there are, in order; a class's caption is "a photo of a LABEL".

    Raises:
        UserError: its first item is none of this kind.
    """

    def __init__(self, items: Dataset, labels: Sequence[str] = ()):
        self.items, self.labels = items, list(labels)
        first = items[0]
        self.resolution = side_of(first["image"] if "image" in as_batch(first) else None)
        self.has_captions = "caption" in first
        photos = {label: f"a photo of a {label}" for label in self.labels}
        self.classes = {"class": photos} if photos else {}

    def __len__(self) -> int:
        return len(self.items)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        items = [self.items[index] for index in indices]
        batch: dict[str, Any] = {"image": torch.stack([item["image"] for item in items])}
        if self.has_captions:
            batch["caption"] = [some(listed(item["caption"])) for item in items]
        if self.labels:
            places = [[self.labels.index(str(item["label"]))] for item in items]
            batch["factors"] = torch.tensor(places)
        return batch

    def captions_of(self, index: int) -> list[str]:
        return listed(self.items[index]["caption"])

    def caption(self, index: int, variant: int = 0, named=None) -> str:
        captions = self.captions_of(index)
        return captions[variant % len(captions)]

    def class_of(self, index: int) -> str:
        return str(self.items[index]["label"])


class DatasetData(Data):
    """Images of a torch Dataset.

    Arguments:
        dataset: of {`image`: (3, H, W) in [-1, 1]}, all of one size, and perhaps `caption`, a
            sentence or several, and `label`, a word.
        held_out: another such data set, or the share of the images, at random places, that is held
            out.
        batch_size, num_workers: of the loaders.
    """

    def __init__(
        self,
        dataset: Dataset,
        held_out: Dataset | float = 0.05,
        batch_size: int = 64,
        num_workers: int = 0,
    ):
        if not isinstance(held_out, Dataset):
            share = number("data.held_out", held_out, 0.001, 0.5)
            order = np.random.default_rng(0).permutation(len(dataset)).tolist()
            count = max(1, round(share * len(dataset)))
            held_out = Subset(dataset, sorted(order[:count]))
            dataset = Subset(dataset, sorted(order[count:]))
        labels: list[str] = []
        if "label" in as_batch(dataset[0]):
            every = (part[i]["label"] for part in (dataset, held_out) for i in range(len(part)))
            labels = sorted({str(label) for label in every})
        train, apart = Items(dataset, labels), Items(held_out, labels)
        super().__init__(train.resolution, batch_size, num_workers)
        self.train, self.held_out = train, apart

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


class LoaderData(Data):
    """Any LightningDataModule whose batches are {`image`}, and perhaps {`caption`}.

    Its validation images are the held-out ones; they are kept in memory.

    Arguments:
        module: its batches give `image`, (B, 3, H, W) in [-1, 1], and perhaps `caption`, B
            sentences.
    """

    def __init__(self, module: pl.LightningDataModule):
        pl.LightningDataModule.__init__(self)
        self.module, self.train = module, None

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
        return Items(items)

    @property
    def captions(self) -> list[str]:
        raise UserError(
            "the words of a LightningDataModule are not known beforehand: use "
            "encoder.tokenizer=bpe."
        )

    @cached_property
    def digest(self) -> str:
        return digest_of(item["image"] for item in self.held_out.items)

    def identity(self) -> dict:
        return {"data": "loader", "images": self.digest}


def as_data(data, **loading) -> Data:
    """Data of any kind as the framework's own.

    Arguments:
        data: a LightningDataModule, or a torch Dataset.
        loading: options of `DatasetData`, for a Dataset alone.

    Raises:
        UserError: it is none of these, or a DataModule does not take an option.
    """
    if isinstance(data, Dataset):
        return DatasetData(data, **loading)
    loading.pop("batch_size", None)  # conf/training sets it for every data set
    if isinstance(data, pl.LightningDataModule):
        for name in loading:
            raise UserError(f"data.{name}: {type(data).__name__} has no such option.")
        return data if isinstance(data, Data) else LoaderData(data)
    raise UserError(
        f"data._target_ makes a {type(data).__name__}, but a LightningDataModule or a torch "
        "Dataset is needed; docs/extending.md says what it gives."
    )


def as_batch(batch) -> dict:
    """A batch or an item, if it is a dictionary."""
    if not isinstance(batch, dict):
        raise UserError(
            f"the data gives a {type(batch).__name__}, but a dictionary with `image` is needed."
        )
    return batch


def side_of(image) -> int:
    """Side of an image of a data set, in pixels."""
    if not (isinstance(image, Tensor) and image.is_floating_point() and image.ndim == 3):
        raise UserError("the data must give `image`, a float tensor (3, H, W) in [-1, 1].")
    channels, height, width = image.shape
    if channels != 3 or height != width or image.abs().max() > 1.01:
        raise UserError(
            f"the data gives an `image` of shape {tuple(image.shape)} with values up to "
            f"{image.abs().max():g}; it must be square, of three channels, in [-1, 1]."
        )
    return width


def digest_of(images) -> str:
    """Of images' bytes, in order."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(image.contiguous().numpy().tobytes())
    return digest.hexdigest()


def listed(captions: str | Sequence[str]) -> list[str]:
    return [captions] if isinstance(captions, str) else list(captions)


def some(captions: list[str]) -> str:
    """One of them, at random where there are several."""
    return captions[int(torch.randint(len(captions), ())) if len(captions) > 1 else 0]
