"""A folder of the user's own images."""

import copy
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset

from sdg.data.annotations import LABELS, captions_of, labels_of
from sdg.data.image import CROPS, SUFFIXES, image_files, load_image
from sdg.errors import UserError, choice, integer

__all__ = ["ImageFolder"]


class ImageFolder(Dataset):
    """Every image under a folder, scaled so that its shorter side is `resolution`, then cropped to a square.

    Items, fetched a batch at a time, are {`image`: float (B, 3, H, W) in [-1, 1]}, with `captions` {`caption`: B sentences}, any of an
    image's own, and with `labels` {`factors`: integers (B, 1)}.

    A file that cannot be read is named once, and the next one of `among` that can takes its place.

    Arguments:
        root: the folder.
        resolution: side in pixels.
        captions: give captions: see `captions_of`.
        labels: give classes, by `folders` or `names`: see `labels_of`.
        crop, flip: of `load_image`.
        max_broken: how many files may be unreadable, and with `captions` how many may have none; those are left out.

    Raises:
        UserError: no such folder, no image in it, a class is missing, or more files than allowed cannot be read or have no caption.
    """

    def __init__(self, root: str, resolution: int = 32, captions: bool = False, labels: bool | str = False, crop: str = "centre", flip: bool = False, max_broken: int = 0):
        self.root = Path(str(root)).expanduser()
        if not self.root.is_dir():
            raise UserError(f"data.root: there is no folder {str(root)!r}; set data.root=PATH.")
        self.resolution, self.max_broken = integer("data.resolution", resolution, 8, 1024), integer("data.max_broken", max_broken, 0)
        self.crop, self.flip = choice("data.crop", crop, CROPS), choice("data.flip", flip, (False, True))
        self.files = image_files(self.root)
        if not self.files:
            raise UserError(f"data.root: no image in {str(root)!r} (looked for {' '.join(sorted(SUFFIXES))}).")
        self.captions, self.silent = None, []
        if captions:
            said = dict(zip(self.files, captions_of(self.root, self.files, self.max_broken)))
            self.silent = [file for file, words in said.items() if not words]
            self.files = [file for file, words in said.items() if words]
            self.captions = [said[file] for file in self.files]
        self.labels = labels_of(self.root, self.files, labels) if choice("data.labels", labels, LABELS) else None
        names = sorted(set(self.labels or ()))
        self.classes = {"class": {name: f"a photo of a {name}" for name in names}} if labels else {}
        self.factors = torch.tensor([[names.index(label)] for label in self.labels]) if labels else None
        self.among: Sequence[int] = range(len(self.files))  # what may stand in for one another: a part of a split sets its own
        self.broken = torch.zeros(len(self.files), dtype=torch.bool).share_memory_()  # workers tell it to one another

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict:
        read = [self.readable(i) for i in indices]
        places, batch = [place for place, _ in read], {"image": torch.stack([image for _, image in read])}
        if self.captions is not None:
            batch["caption"] = [said[int(torch.randint(len(said), ()))] for said in (self.captions[i] for i in places)]
        return batch if self.factors is None else batch | {"factors": self.factors[places]}

    def readable(self, index: int) -> tuple[int, torch.Tensor]:
        """The image of this place, or else of the next of `among` that can be read, and its place."""
        for place in itertools.chain([index], (i for i in self.among if i > index), (i for i in self.among if i < index)):
            if self.broken[place]:
                continue
            try:
                return place, load_image(self.files[place], self.resolution, self.crop, self.flip)
            except UserError as error:
                self.broken[place] = True
                count = int(self.broken.sum())
                if count > self.max_broken:
                    raise UserError(f"{error} Or skip it: data.max_broken={count}." if count == 1 else f"{error} With it {count} images cannot be read; data.max_broken={self.max_broken}.") from error
                print(f"skipped: {error}", file=sys.stderr)
        raise UserError(f"none of the {len(self.among)} images of a part of {self.root} can be read.")

    @property
    def knows_captions(self) -> bool:
        return self.captions is not None

    def captions_of(self, index: int) -> list[str]:
        """The captions of one image."""
        return self.captions[index]

    def plain(self) -> "ImageFolder":
        """The same images, neither cropped at random nor mirrored; both know what the other could not read."""
        other = copy.copy(self)
        other.crop, other.flip = "centre", False
        return other

    def mark(self, index: int) -> bytes:
        """What decides on which side of a split a file stands: its name under the root alone, so that it stays when files are added."""
        return os.fsencode(self.files[index].relative_to(self.root).as_posix())

    def told(self) -> str | None:
        """What was skipped, in a sentence or two; None for nothing."""
        parts = (("could not be read and were skipped", [self.files[i] for i in self.broken.nonzero().flatten().tolist()]), ("have no caption and were left out", self.silent))
        return " ".join(f"{len(files)} of {len(self) + len(self.silent)} images {what}: {', '.join(ascii(file.relative_to(self.root).as_posix())[1:-1] for file in files)}." for what, files in parts if files) or None
