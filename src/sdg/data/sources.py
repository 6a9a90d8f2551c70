"""Where examples come from that do not fit one machine, or one list.

They come from shards of tar files, and from data sets of the Hugging Face hub.
"""

import itertools
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from sdg.data.annotations import TEXT, sentences
from sdg.data.image import SUFFIXES
from sdg.errors import UserError, first_line

__all__ = ["Example", "Hub", "Source", "Tars"]


class Example(NamedTuple):
    """An image as its file has it, what is said of it, and its name in its source."""

    file: bytes
    captions: list[str]
    name: str


class Source(ABC):
    """Where examples come from, in parts that are read one after another."""

    parts: Sequence[str]

    @abstractmethod
    def read(self, part: str) -> Iterator[Example]:
        """The examples of one part, always in the same order, none decoded."""

    def first(self, count: int) -> list[Example]:
        """So many examples, or all."""
        return list(
            itertools.islice(itertools.chain.from_iterable(map(self.read, self.parts)), count)
        )

    @abstractmethod
    def split(self, held_out: int) -> tuple["Source", list[Example]]:
        """What is left to train on, and that many examples that are not."""


class Tars(Source):
    """WebDataset shards.

    Files of one example stand next to each other and share the name before their first dot.

    Arguments:
        urls: a pattern such as `data/{000..099}.tar`, a glob, or several of either; paths, http(s),
            s3 and what else webdataset opens.

    Raises:
        UserError: nothing is there.
    """

    def __init__(self, urls: str | Sequence[str]):
        from webdataset.shardlists import expand_urls

        patterns = [
            os.path.expanduser(pattern)
            for pattern in ([urls] if isinstance(urls, str) else urls or ())
        ]
        found = [
            shard
            for pattern in patterns
            for shard in (
                sorted(
                    map(
                        str,
                        Path().glob(pattern)
                        if not Path(pattern).is_absolute()
                        else Path("/").glob(pattern[1:]),
                    )
                )
                if "*" in pattern and "://" not in pattern
                else expand_urls(pattern)
            )
        ]
        missing = [
            shard
            for shard in found
            if "://" not in shard and not shard.startswith("pipe:") and not Path(shard).is_file()
        ]
        if missing or not found:
            raise UserError(
                f"data.urls: there is no shard {missing[0] if missing else urls!r}; name tar "
                f"files, such as data.urls='shards/{{000..099}}.tar'."
            )
        self.parts = found

    def read(self, part: str) -> Iterator[Example]:
        from webdataset import tarfile_samples

        try:
            for sample in tarfile_samples([{"url": part}]):
                file = next(
                    (
                        sample[key]
                        for key in sample
                        if f".{key.rpartition('.')[2].lower()}" in SUFFIXES
                    ),
                    None,
                )
                if file is not None:
                    yield Example(file, said(sample), f"{part}: {sample['__key__']}")
        except Exception as error:  # the network's, tarfile's
            raise UserError(
                f"the shard {part} cannot be read ({type(error).__name__}: {first_line(error)}); "
                "fetch it anew, or leave it out of data.urls."
            ) from error

    def split(self, held_out: int) -> tuple["Tars", list[Example]]:
        if len(self.parts) < 2:
            raise UserError(
                "data.urls is one shard; the first is held out, so name at least two, or set "
                "data.held_out_urls."
            )
        rest = object.__new__(Tars)
        rest.parts = self.parts[
            1:
        ]  # the first is held out: it stays where it is when shards are added
        return rest, list(itertools.islice(self.read(self.parts[0]), held_out))


def said(sample: dict) -> list[str]:
    """The captions of a tar file's example: lines of its .txt, or the caption in its .json."""
    if "txt" in sample:
        return [
            line.strip()
            for line in sample["txt"].decode("utf-8", "replace").split("\n")
            if line.strip()
        ]
    if "json" in sample:
        found = json.loads(sample["json"])
        return (
            sentences(next((found[name] for name in TEXT if found.get(name)), []))
            if isinstance(found, dict)
            else []
        )
    return []


class Hub(Source):
    """A data set of the Hugging Face hub, or of a folder that `datasets` reads.

    It has one part for each of its shards.

    Arguments:
        name: on the hub, or of a builder such as imagefolder or parquet.
        split: of its rows.
        streaming: read while fetching; false fetches all first.
        options: of `datasets.load_dataset`.

    Raises:
        UserError: it cannot be had, or has no images.
    """

    def __init__(self, name: str, split: str = "train", streaming: bool = True, **options):
        try:
            import datasets
        except ImportError as error:
            raise UserError("data=hf needs: pip install datasets.") from error
        if not name:
            raise UserError(
                "data=hf needs data.name=NAME, of a data set on the hub, or a builder such as "
                "imagefolder with +data.options.data_dir=FOLDER."
            )
        if (
            "/" not in name
            and (folder := options.get("data_dir"))
            and "://" not in str(folder)
            and not Path(folder).is_dir()
        ):
            raise UserError(f"data.options.data_dir: there is no folder {folder}.")
        try:
            rows = datasets.load_dataset(name, split=split, streaming=streaming, **options)
            self.rows = (
                rows if streaming else rows.to_iterable_dataset(num_shards=min(64, len(rows)))
            )
            features = self.rows.features or {}
            self.image = next(
                (key for key, kind in features.items() if isinstance(kind, datasets.Image)), None
            )
            if self.image is not None:
                self.rows = self.rows.cast_column(self.image, datasets.Image(decode=False))
        except Exception as error:  # the hub's, the connection's, the data set's
            raise UserError(
                f"data.name={name}: it cannot be had ({type(error).__name__}: "
                f"{first_line(error)}). Offline, fetch it elsewhere and use data=folder."
            ) from error
        if self.image is None:
            raise UserError(
                f"data.name={name} has no column of images; it has: {', '.join(features)}."
            )
        self.text = next((key for key in TEXT if key in features), None)
        self.name, self.parts, self.skipped = (
            name,
            [str(i) for i in range(self.rows.num_shards)],
            {},
        )

    def read(self, part: str) -> Iterator[Example]:
        rows = iter(self.rows.shard(num_shards=len(self.parts), index=int(part)))
        with unshared():
            first = list(itertools.islice(rows, 1))
        for place, row in enumerate(itertools.chain(first, rows)):
            if place >= self.skipped.get(part, 0):
                yield Example(
                    self.file(row[self.image]),
                    sentences(row[self.text] if self.text else []),
                    f"{self.name}, shard {part}, row {place}",
                )

    @staticmethod
    def file(image: dict | None) -> bytes:
        """The bytes of an image, which a row holds or names.

        There are none for what cannot be had, which `Stream` then skips as it skips broken files.
        """
        import fsspec

        if image is None or image["bytes"]:
            return image["bytes"] if image else b""
        try:
            with fsspec.open(image["path"], "rb") as file:
                return file.read()
        except (OSError, ValueError, KeyError):
            return b""

    def split(self, held_out: int) -> tuple["Hub", list[Example]]:
        """What is left, and the first examples, in the order of the shards."""
        found: list[Example] = []
        for part in self.parts:
            own = list(itertools.islice(self.read(part), held_out - len(found)))
            found.extend(own)
            self.skipped[part] = len(own)
            if len(found) == held_out:
                return self, found
        raise UserError(
            f"data.held_out={held_out}, but {self.name} has {len(found)} images in all; lower it."
        )


@contextmanager
def unshared() -> Iterator[None]:
    """Within it `datasets` does not see that a worker of a loader asks.

    It would share the shard among the workers once more.
    """
    kept, torch.utils.data._utils.worker._worker_info = (
        torch.utils.data._utils.worker._worker_info,
        None,
    )
    try:
        yield
    finally:
        torch.utils.data._utils.worker._worker_info = kept
