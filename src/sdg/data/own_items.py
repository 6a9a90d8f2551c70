"""Items of a torch Dataset of one's own, fetched a batch at a time."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sdg.data.image_set import ImageSet
from sdg.data.sentences import photo_of
from sdg.errors import UserError

__all__ = ["Indexed", "Items", "ItemSubset", "as_batch"]


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
        self.resolution = side_of(first["image"] if "image" in as_batch(first) else None)
        self.has_captions = "caption" in first
        photos = {label: photo_of(label) for label in self.labels}
        self.classes = {"class": photos} if photos else {}

    def __len__(self) -> int:
        return len(self.items)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        items = [self.items[index] for index in indices]
        batch: dict[str, Any] = {"image": torch.stack([item["image"] for item in items])}
        if self.has_captions:
            batch["caption"] = [any_caption(listed(item["caption"])) for item in items]
        if self.labels:
            places = [[self.labels.index(str(item["label"]))] for item in items]
            batch["factors"] = torch.tensor(places)
        return batch

    def captions_of(self, index: int) -> list[str]:
        return listed(self.items[index]["caption"])

    def caption(self, index: int, variant: int = 0, named=None) -> str:
        captions = self.captions_of(index)
        return captions[variant % len(captions)]

    def class_name(self, index: int) -> str:
        return str(self.items[index]["label"])


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


def listed(captions: str | Sequence[str]) -> list[str]:
    return [captions] if isinstance(captions, str) else list(captions)


def any_caption(captions: list[str]) -> str:
    """One of them, at random where there are several."""
    return captions[int(torch.randint(len(captions), ())) if len(captions) > 1 else 0]
