"""A folder of the user's own images."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sdg.data.annotations import LABELS, captions_of, labels_of
from sdg.data.image import load_image
from sdg.data.image_files import image_files, images_root
from sdg.data.sentences import photo_of
from sdg.data.skipping import Skipping
from sdg.data.stream import one_of
from sdg.errors import choice, integer

__all__ = ["ImageFolder"]


class ImageFolder(Skipping):
    """Every image under a folder, scaled and cropped to a square.

    It is scaled so that its shorter side is `resolution`, then cropped.

    Items, fetched a batch at a time, are {`image`: float (B, 3, H, W) in [-1, 1]}, with `captions`
    {`caption`: B sentences}, any of an image's own, and with `labels` {`factors`: integers (B, 1)}.

    Arguments:
        root: the folder.
        resolution: side in pixels.
        captions: give captions: see `captions_of`.
        labels: give classes, by `folders` or `names`: see `labels_of`.
        crop, flip: of `load_image`.
        max_broken: how many files may be unreadable, and with `captions` how many may have none;
            those are left out.

    Raises:
        UserError: no such folder, no image in it, a class is missing, or more files than allowed
            cannot be read or have no caption.
    """

    def __init__(
        self,
        root: str,
        resolution: int = 32,
        captions: bool = False,
        labels: bool | str = False,
        crop: str = "centre",
        flip: bool = False,
        max_broken: int = 0,
    ):
        self.root = images_root(root)
        self.resolution = integer("data.resolution", resolution, 8, 1024)
        self.files = image_files(self.root)
        self.captions: list[list[str]] | None = None
        self.uncaptioned: list[Path] = []
        if captions:
            most = integer("data.max_broken", max_broken, 0)
            every = captions_of(self.root, self.files, most)
            by_file = dict(zip(self.files, every, strict=True))
            self.uncaptioned = [file for file, own in by_file.items() if not own]
            self.files = [file for file, own in by_file.items() if own]
            self.captions = [by_file[file] for file in self.files]
        self.classes: dict[str, dict[str, str]] = {}
        self.labels: list[str] | None = None
        self.factors: torch.Tensor | None = None
        if choice("data.labels", labels, LABELS):
            self.labels = labels_of(self.root, self.files, labels)
            names = sorted(set(self.labels))
            self.classes = {"class": {name: photo_of(name) for name in names}}
            self.factors = torch.tensor([[names.index(label)] for label in self.labels])
        super().__init__(len(self.files), crop, flip, max_broken)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        read = [self.readable(i) for i in indices]
        places = [place for place, _ in read]
        batch: dict[str, Any] = {"image": torch.stack([image for _, image in read])}
        if self.captions is not None:
            batch["caption"] = [one_of(self.captions[i]) for i in places]
        return batch if self.factors is None else batch | {"factors": self.factors[places]}

    def read_image(self, index: int) -> torch.Tensor:
        return load_image(self.files[index], self.resolution, self.crop, self.flip)

    def name(self, index: int) -> str:
        return printable_name(self.root, self.files[index])

    @property
    def knows_captions(self) -> bool:
        return self.captions is not None

    def captions_of(self, index: int) -> list[str]:
        """The captions of one image."""
        return [] if self.captions is None else self.captions[index]

    def split_key(self, index: int) -> bytes:
        """What decides on which side of a split a file stands.

        It is the file's name under the root alone, so that it stays when files are added.
        """
        return os.fsencode(self.files[index].relative_to(self.root).as_posix())

    def skipped_report(self) -> str | None:
        """What was skipped or left out, in a sentence each; None for nothing."""
        reports = [super().skipped_report()]
        if self.uncaptioned:
            names = ", ".join(printable_name(self.root, file) for file in self.uncaptioned)
            count = len(self.uncaptioned)
            reports.append(
                f"{count} of {len(self) + count} images have no caption and were left out: {names}."
            )
        return " ".join(filter(None, reports)) or None


def printable_name(root: Path, file: Path) -> str:
    """A file's name under the root; one that is no text, in escapes."""
    name = file.relative_to(root).as_posix()
    return name if name.isprintable() else ascii(name)[1:-1]
