"""Data sets that everybody knows: CIFAR-10 and CelebA as torchvision has them, LSUN's databases."""

import io
import os
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import datasets

from sdg.data.image import pixels
from sdg.data.sentences import photo_of
from sdg.data.skipping import Skipping
from sdg.errors import UserError, choice, first_line, integer

__all__ = ["KNOWN", "TorchvisionDataset"]

KNOWN = ("cifar10", "celeba", "lsun")


class TorchvisionDataset(Skipping):
    """One part of a known data set, scaled and cropped to a square.

    An image is scaled so that the shorter side is `resolution`, then cropped.

    Items, fetched a batch at a time, are {`image`: float (B, 3, H, W) in [-1, 1]}; with `captions`
    {`caption`: B sentences}, of a CIFAR-10 class or of CelebA's attributes; of CIFAR-10 {`factors`:
    integers (B, 1)} too, its classes.

    Arguments:
        name: `cifar10`, `celeba` or `lsun`.
        root: where torchvision keeps it.
        train: the part to train on, or the one that is held out: CIFAR-10's test images, CelebA's
            and LSUN's validation images.
        category: LSUN's, such as bedroom.
        resolution: side in pixels.
        captions: give captions.
        crop, flip: as of `pixels`.
        download: fetch it, where torchvision can.
        max_broken: how many images may be unreadable.

    Raises:
        UserError: it is not there, or has no captions.
    """

    def __init__(
        self,
        name: str,
        root: str,
        train: bool,
        category: str = "bedroom",
        resolution: int = 32,
        captions: bool = False,
        crop: str = "centre",
        flip: bool = False,
        download: bool = False,
        max_broken: int = 0,
    ):
        self.set = f"{choice('data.name', name, KNOWN)}, {'training' if train else 'held-out'} part"
        self.resolution = integer("data.resolution", resolution, 8, 1024)
        self.source = open_torchvision_set(
            name, Path(str(root)).expanduser(), train, category, download
        )
        self.captions = captions_of(name, self.source) if captions else None
        names = self.source.classes if name == "cifar10" else []
        self.classes = {"class": {one: photo_of(one) for one in names}} if names else {}
        self.labels = [names[label] for label in self.source.targets] if names else None
        super().__init__(len(self.source), crop, flip, max_broken)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        read = [self.readable(i) for i in indices]
        places = [place for place, _ in read]
        batch: dict[str, Any] = {"image": torch.stack([image for _, image in read])}
        if self.captions is not None:
            batch["caption"] = [self.captions[i] for i in places]
        if self.classes:
            batch["factors"] = torch.tensor([[self.source.targets[i]] for i in places])
        return batch

    def read_image(self, index: int) -> torch.Tensor:
        try:
            return pixels(self.source[index][0], self.resolution, self.crop, self.flip)
        except Exception as error:  # pillow's, the file system's, lmdb's
            raise UserError(
                f"cannot read image {self.name(index)} of {self.set}: {first_line(error)}. Fetch "
                "the data anew."
            ) from error

    def name(self, index: int) -> str:
        names = getattr(self.source, "filename", None) or getattr(
            self.source, "keys", None
        )  # CelebA's, LSUN's
        name = index if names is None else names[index]
        return name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)

    def skipped_report(self) -> str | None:
        return (report := super().skipped_report()) and f"{self.set}: {report}"

    @property
    def knows_captions(self) -> bool:
        return self.captions is not None

    def captions_of(self, index: int) -> list[str]:
        """The captions of one image."""
        return [] if self.captions is None else [self.captions[index]]


class Lmdb:
    """LSUN's databases, (image, 0) in the order of their keys.

    torchvision's own reader keeps the keys in a pickle, in whatever folder one works in.
    """

    def __init__(self, folder: Path):
        import lmdb

        self.folder = folder
        self.process: int | None = None  # that has opened the database
        with (
            lmdb.open(str(folder), readonly=True, lock=False) as database,
            database.begin() as transaction,
        ):
            self.keys = list(transaction.cursor().iternext(keys=True, values=False))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int):
        import lmdb

        if self.process != os.getpid():  # a database is opened by each process anew
            self.database, self.process = (
                lmdb.open(str(self.folder), readonly=True, lock=False, readahead=False),
                os.getpid(),
            )
        with self.database.begin() as transaction:
            file = transaction.get(self.keys[index])
        if file is None:
            raise KeyError(f"{self.folder} has no {self.keys[index]!r}")
        return Image.open(io.BytesIO(file)), 0

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "keys": self.keys, "process": None}


def open_torchvision_set(name: str, root: Path, train: bool, category: str, download: bool):
    """torchvision's data set.

    Raises:
        UserError: it is not there, or cannot be fetched.
    """
    part = "train" if train else "val"
    try:
        if name == "cifar10":
            return datasets.CIFAR10(root, train, download=download)
        if name == "celeba":
            return datasets.CelebA(root, "train" if train else "valid", download=download)
        return Lmdb(root / f"{category}_{part}_lmdb")
    except ImportError as error:
        raise UserError(f"data={name} needs: pip install {error.name or 'lmdb gdown'}.") from error
    except Exception as error:  # torchvision's, the file system's, lmdb's
        how = {
            "cifar10": "data.download=true fetches it",
            "celeba": "data.download=true fetches it, with pip install gdown",
            "lsun": f"fetch and unpack {category}_{part}_lmdb from the LSUN project",
        }[name]
        raise UserError(
            f"data={name}: it is not whole under {root} ({first_line(error)}); {how}, or set "
            "data.root=FOLDER."
        ) from error


def captions_of(name: str, source) -> list[str]:
    """A caption for every image.

    Raises:
        UserError: nothing is known of them.
    """
    if name == "cifar10":
        return [photo_of(source.classes[label]) for label in source.targets]
    if name == "celeba":
        words = [
            attribute.replace("_", " ").lower() for attribute in source.attr_names if attribute
        ]
        captions = []
        for row in source.attr.tolist():
            captions.append(", ".join(["a photo of a person", *compress(words, row)]))
        return captions
    raise UserError(f"data={name} has no captions; use data=folder with captions of your own.")
