"""Items of a torch Dataset of one's own, fetched a batch at a time."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from sdg.data.image_set import ImageSet
from sdg.data.sentences import photo_of
from sdg.errors import UserError

__all__ = ["Indexed", "Items", "ItemSubset", "as_batch"]

FIRST = 64  # images whose range is looked at, until one has a pixel below 0


class Indexed(Protocol):
    """A data set that knows its length, or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Items(ImageSet):
    """A torch Dataset whose items are {`image`}, and perhaps {`caption`, `label`}.

    Arguments:
        items: gives for an index `image`, (3, H, W) in [-1, 1]; `caption`, a sentence or several;
            `label`, a word.
        labels: all that there are, in order; a class's caption is "a photo of a LABEL" (or an).

    Raises:
        UserError: its first item is none of this kind.
    """

    def __init__(self, items: Indexed, labels: Sequence[str] = ()):
        self.items, self.labels = items, list(labels)
        first = items[0]
        image = image_of(first)
        self.resolution, self.signed = side_of(image), bool(image.min() < 0)
        self.has_captions = "caption" in first
        photos = {label: photo_of(label) for label in self.labels}
        self.classes = {"class": photos} if photos else {}

    def __len__(self) -> int:
        return len(self.items)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        items = [self.items[index] for index in indices]
        images = [image_of(item) for item in items]
        side = self.resolution
        for index, image in zip(indices, images, strict=True):
            if image.shape != (3, side, side):
                raise UserError(
                    f"image {self.name(index)} of the data has the shape {tuple(image.shape)}, the "
                    f"first one (3, {side}, {side}); all must be of one size."
                )
        batch: dict[str, Any] = {"image": torch.stack(images)}
        if self.has_captions:
            batch["caption"] = [any_caption(item_captions(item.get("caption"))) for item in items]
        if self.labels:
            places = [[self.labels.index(str(item["label"]))] for item in items]
            batch["factors"] = torch.tensor(places)
        return batch

    def captions_of(self, index: int) -> list[str]:
        return item_captions(self.items[index].get("caption"))

    def caption(self, index: int, variant: int = 0, named=None) -> str:
        captions = self.captions_of(index)
        return captions[variant % len(captions)]

    def class_name(self, index: int) -> str:
        return str(self.items[index]["label"])

    def name(self, index: int) -> str:
        items = self.items
        return str(items.indices[index] if isinstance(items, ItemSubset) else index)

    def print_range(self) -> None:
        """Says so where no pixel of the first images is below 0, as in [0, 1]."""
        first = range(min(FIRST, len(self)))
        if not self.signed and all(self[i]["image"].min() >= 0 for i in first):
            rank_zero_only(print)(
                "the data: no pixel of its first images is below 0. Images are taken to be in "
                "[-1, 1]; if these are in [0, 1], give image * 2 - 1."
            )


class ItemSubset:
    """Some items of a data set."""

    def __init__(self, dataset: Indexed, indices: Sequence[int]):
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Any:
        return self.dataset[self.indices[index]]


def as_batch(batch) -> dict:
    """A batch or an item, if it is a dictionary."""
    if not isinstance(batch, dict):
        raise UserError(
            f"the data gives a {type(batch).__name__}, but a dictionary with `image` is needed."
        )
    return batch


def image_of(item) -> Tensor:
    """The image of an item in float32.

    Raises:
        UserError: it has none, or none that is a float tensor of three axes.
    """
    image = as_batch(item).get("image")
    if isinstance(image, Tensor) and image.is_floating_point() and image.ndim == 3:
        return image.float()
    if image is None:
        came = f"the keys {', '.join(map(str, item)) or 'none'} came"
    elif isinstance(image, (Tensor, np.ndarray)):
        came = f"{image.dtype} of shape {tuple(image.shape)} came"
    else:
        came = f"a {type(image).__module__}.{type(image).__name__} came"
    raise UserError(
        f"the data must give `image`, a float tensor (3, H, W) in [-1, 1]; {came}{remedy(image)}."
    )


def remedy(image) -> str:
    """How to convert an image of another kind."""
    if isinstance(image, Tensor) and image.dtype == torch.uint8:
        return ": give image / 127.5 - 1"
    if isinstance(image, np.ndarray) and image.dtype != np.uint8:
        return ": give torch.from_numpy(image)"
    if isinstance(image, (Image.Image, np.ndarray)):
        return ": give torchvision.transforms.functional.to_tensor(image) * 2 - 1"
    return ""


def side_of(image: Tensor) -> int:
    """Side of an image of a data set, in pixels.

    Raises:
        UserError: it is not square, not of three channels, or not in [-1, 1].
    """
    channels, height, width = image.shape
    limit = image.abs().max()
    if channels == 3 and height == width and limit <= 1.01:
        return width
    advice = ""
    if channels == 1:
        advice = ": give image.expand(3, -1, -1)"
    elif width == 3 and channels == height:
        advice = ": give image.permute(2, 0, 1)"
    elif 2 < limit <= 255:
        advice = ": give image / 127.5 - 1"
    raise UserError(
        f"the data gives an `image` of shape {tuple(image.shape)} with values up to {limit:g}; it "
        f"must be square, of three channels, in [-1, 1]{advice}."
    )


def item_captions(captions: Any) -> list[str]:
    """The sentences of an item.

    Raises:
        UserError: they are none.
    """
    sentences = [captions] if isinstance(captions, str) else captions
    several = isinstance(sentences, (list, tuple)) and len(sentences)
    if not several or not all(isinstance(each, str) for each in sentences):
        raise UserError(
            f"the data must give `caption`, a sentence or a list of sentences, not {captions!r}."
        )
    return list(sentences)


def any_caption(captions: list[str]) -> str:
    """One of an image's captions, drawn at random where there are several."""
    return captions[int(torch.randint(len(captions), ())) if len(captions) > 1 else 0]
