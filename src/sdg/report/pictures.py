"""Where a run's samples lie: a folder of PNGs, or WebDataset's shards, a batch each."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sdg.errors import UserError, choice, first_line

__all__ = ["KINDS", "Pictures", "open_picture"]

KINDS = ("folder", "shards")


class Pictures:
    """Writes and reads samples by their place in the run.

    A shard is a tar file with `00064.png` and `00064.json` for every sample, which `webdataset`
    reads as it is.

    Arguments:
        folder: of the run.
        kind: of `KINDS`.
    """

    def __init__(self, folder: Path, kind: str):
        self.folder, self.kind = folder, choice("images", kind, KINDS)

    @property
    def place(self) -> Path:
        """The folder that holds them."""
        return self.folder / {"folder": "images", "shards": "shards"}[self.kind]

    def write(self, images: Tensor, rows: Sequence[dict]) -> list[str]:
        """Writes a batch; the files' names under the run's folder.

        Arguments:
            images: 8-bit, (B, 3, H, W).
            rows: of each sample, with its `index`; a shard keeps them.
        """
        pixels, names = images.permute(0, 2, 3, 1).numpy(), [f"{row['index']:05d}" for row in rows]
        self.place.mkdir(parents=True, exist_ok=True)
        if self.kind == "folder":
            for name, image in zip(names, pixels, strict=True):
                Image.fromarray(image).save(self.place / f"{name}.png")
            return [f"images/{name}.png" for name in names]
        with tarfile.open(self.place / f"{names[0]}.tar", "w") as shard:
            for name, image, row in zip(names, pixels, rows, strict=True):
                png = io.BytesIO()
                Image.fromarray(image).save(png, "png")
                for suffix, data in (("png", png.getvalue()), ("json", json.dumps(row).encode())):
                    member = tarfile.TarInfo(
                        f"{name}.{suffix}"
                    )  # without a time: the same samples are the same bytes
                    member.size = len(data)
                    shard.addfile(member, io.BytesIO(data))
        return [f"shards/{names[0]}.tar/{name}.png" for name in names]

    def has(self, file: str) -> bool:
        """Whether the file of a sample, or its shard, is there."""
        place = self.folder / file
        return (place if self.kind == "folder" else place.parent).is_file()

    def read_images(self, files: Sequence[str]) -> Tensor:
        """Samples as they were written, (N, 3, H, W) in [-1, 1]."""
        images = np.stack([np.asarray(open_picture(self.folder / file)) for file in files])
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def open_picture(file: Path) -> Image.Image:
    """A PNG, or one in a shard: `shards/00000.tar/00003.png`.

    Raises:
        UserError: it was removed or changed.
    """
    shard = file.parent if file.parent.suffix == ".tar" else None
    try:
        image = Image.open(file if shard is None else io.BytesIO(member(shard, file.name)))
        image.load()
        return image
    except (OSError, LookupError, SyntaxError, ValueError, tarfile.TarError) as error:
        raise UserError(
            f"the sample {file} is damaged or gone ({first_line(error)}); remove "
            f"{shard or file}, and the same command draws it again."
        ) from error


def member(shard: Path, name: str) -> bytes:
    """A file in a tar file."""
    with tarfile.open(shard) as opened:
        held = opened.extractfile(name)
        if held is None:
            raise FileNotFoundError(f"{shard} has no file {name}")
        return held.read()
