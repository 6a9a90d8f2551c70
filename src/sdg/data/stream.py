"""Data that does not fit one machine, or one list: shards of tar files, and data sets of the Hugging Face hub, read as they come."""

import io
import itertools
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from sdg.data.annotations import TEXT, sentences
from sdg.data.image import SUFFIXES, pixels
from sdg.errors import UserError, integer

__all__ = ["Example", "Hub", "Kept", "Source", "Stream", "Tars"]


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

    @abstractmethod
    def split(self, held_out: int) -> tuple["Source", list[Example]]:
        """What is left to train on, and that many examples that are not."""


class Tars(Source):
    """WebDataset shards: files of one example stand next to each other and share the name before their first dot.

    Arguments:
        urls: a pattern such as `data/{000..099}.tar`, a glob, or several of either; paths, http(s), s3 and what else webdataset opens.

    Raises:
        UserError: nothing is there.
    """

    def __init__(self, urls: str | Sequence[str]):
        from webdataset.shardlists import expand_urls

        patterns = [urls] if isinstance(urls, str) else list(urls or ())
        found = [shard for pattern in patterns for shard in (sorted(map(str, Path().glob(pattern) if not Path(pattern).is_absolute() else Path("/").glob(pattern[1:])))
                                                             if "*" in pattern and "://" not in pattern else expand_urls(pattern))]
        missing = [shard for shard in found if "://" not in shard and not shard.startswith("pipe:") and not Path(shard).is_file()]
        if missing or not found:
            raise UserError(f"data.urls: there is no shard {missing[0] if missing else urls!r}; name tar files, such as data.urls='shards/{{000..099}}.tar'.")
        self.parts = found

    def read(self, part: str) -> Iterator[Example]:
        from webdataset import tarfile_samples

        try:
            for sample in tarfile_samples([{"url": part}]):
                file = next((sample[key] for key in sample if f".{key.rpartition('.')[2].lower()}" in SUFFIXES), None)
                if file is not None:
                    yield Example(file, said(sample), f"{part}: {sample['__key__']}")
        except Exception as error:  # the network's, tarfile's
            raise UserError(f"the shard {part} cannot be read ({type(error).__name__}: {str(error).splitlines()[0]}); fetch it anew, or leave it out of data.urls.") from error

    def split(self, held_out: int) -> tuple["Tars", list[Example]]:
        if len(self.parts) < 2:
            raise UserError("data.urls is one shard; the last is held out, so name at least two, or set data.held_out_urls.")
        rest = object.__new__(Tars)
        rest.parts = self.parts[:-1]
        return rest, list(itertools.islice(self.read(self.parts[-1]), held_out))


def said(sample: dict) -> list[str]:
    """The captions of a tar file's example: lines of its .txt, or the caption in its .json."""
    import json

    if "txt" in sample:
        return [line.strip() for line in sample["txt"].decode("utf-8", "replace").split("\n") if line.strip()]
    if "json" in sample:
        found = json.loads(sample["json"])
        return sentences(next((found[name] for name in TEXT if found.get(name)), [])) if isinstance(found, dict) else []
    return []


class Hub(Source):
    """A data set of the Hugging Face hub, or of a folder that `datasets` reads, one part for each of its shards.

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
            raise UserError("data=hf needs data.name=NAME, of a data set on the hub, or a builder such as imagefolder with +data.options.data_dir=FOLDER.")
        try:
            rows = datasets.load_dataset(name, split=split, streaming=streaming, **options)
            self.rows = rows if streaming else rows.to_iterable_dataset(num_shards=min(64, len(rows)))
            features = self.rows.features or {}
            self.image = next((key for key, kind in features.items() if isinstance(kind, datasets.Image)), None)
            if self.image is not None:
                self.rows = self.rows.cast_column(self.image, datasets.Image(decode=False))
        except Exception as error:  # the hub's, the connection's, the data set's
            raise UserError(f"data.name={name}: it cannot be had ({type(error).__name__}: {str(error).splitlines()[0]}). Offline, fetch it elsewhere and use data=folder.") from error
        if self.image is None:
            raise UserError(f"data.name={name} has no column of images; it has: {', '.join(features)}.")
        self.text = next((key for key in TEXT if key in features), None)
        self.name, self.parts, self.skipped = name, [str(i) for i in range(self.rows.num_shards)], {}

    def read(self, part: str) -> Iterator[Example]:
        rows = iter(self.rows.shard(num_shards=len(self.parts), index=int(part)))
        with unshared():
            first = list(itertools.islice(rows, 1))
        for place, row in enumerate(itertools.chain(first, rows)):
            if place >= self.skipped.get(part, 0):
                yield Example(self.file(row[self.image]), sentences(row[self.text] if self.text else []), f"{self.name}, shard {part}, row {place}")

    @staticmethod
    def file(image: dict | None) -> bytes:
        """The bytes of an image, which a row holds or names; none for what cannot be had, which `Stream` then skips as it skips broken files."""
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
                break
        return self, found


@contextmanager
def unshared() -> Iterator[None]:
    """Within it `datasets` does not see that a worker of a loader asks: it would share the shard among the workers once more."""
    kept, torch.utils.data._utils.worker._worker_info = torch.utils.data._utils.worker._worker_info, None
    try:
        yield
    finally:
        torch.utils.data._utils.worker._worker_info = kept


class Stream(IterableDataset):
    """Batches of examples, without end in sight: {`image`: (B, 3, H, W) in [-1, 1]} and with `captions` {`caption`: B sentences}.

    An epoch has its own order of parts, and within them its own order of examples among every `buffer`; both follow from seed and epoch.
    Each process and each worker reads parts of its own; where there are fewer parts than readers, examples of its own. A file that cannot be read is
    named once and skipped; each reader may meet up to `max_broken` of them.

    Arguments:
        source: of examples.
        size: images of an epoch, of all processes together.
        resolution: side in pixels.
        batch_size: of one process.
        captions: give captions.
        crop, flip: as of `sdg.data.image.pixels`.
        max_broken: how many files may be unreadable.
        buffer: among how many examples the order is drawn.
        seed: of the order.
    """

    def __init__(self, source: Source, size: int, resolution: int, batch_size: int, captions: bool = False, crop: str = "centre", flip: bool = False,
                 max_broken: int = 10, buffer: int = 1000, seed: int = 0):
        self.source, self.size, self.resolution, self.batch_size, self.captions = source, size, resolution, batch_size, captions
        self.crop, self.flip, self.max_broken, self.buffer, self.seed = crop, flip, integer("data.max_broken", max_broken, 0), integer("data.buffer", buffer, 1), seed
        self.epoch, self.done, self.rank, self.world = torch.zeros(1, dtype=torch.long).share_memory_(), torch.zeros(1, dtype=torch.long).share_memory_(), 0, 1

    def __len__(self) -> int:
        """Batches of an epoch, of one process."""
        return max(1, self.size // (self.batch_size * self.world))

    def set_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)

    def __iter__(self) -> Iterator[dict]:
        """This reader's batches of the epoch: of W readers of a process the w-th gives batches w, w + W, …; the first `done` are passed over, undecoded."""
        worker, done = get_worker_info(), int(self.done)
        workers = worker.num_workers if worker else 1
        w = (worker.id + done) % workers if worker else 0  # the loader asks its workers in turn, from the first one on
        places = range(w, len(self), workers)
        passed = sum(place < done for place in places)
        examples = itertools.islice(self.shuffled(self.rank * workers + w, self.world * workers), passed * self.batch_size, None)
        readable = self.decoded(examples)
        for _ in places[passed:]:
            yield collated(list(itertools.islice(readable, self.batch_size)), self.captions)

    def shuffled(self, reader: int, readers: int) -> Iterator[Example]:
        """A reader's examples, again and again, each time in another order."""
        for lap in itertools.count():
            order = np.random.default_rng([self.seed, int(self.epoch), lap])
            parts = [self.source.parts[i] for i in order.permutation(len(self.source.parts))]
            own = parts[reader::readers] if len(parts) >= readers else parts
            examples = itertools.chain.from_iterable(map(self.source.read, own))
            if len(parts) < readers:
                examples = itertools.islice(examples, reader, None, readers)
            waiting, empty = [], True
            for example in examples:
                empty = False
                if len(waiting) < self.buffer:
                    waiting.append(example)
                else:
                    place = int(order.integers(self.buffer))
                    waiting[place], example = example, waiting[place]
                    yield example
            if empty:
                raise UserError(f"the data has fewer examples than there are readers, {readers}; lower data.num_workers.")
            yield from (waiting[i] for i in order.permutation(len(waiting)))

    def decoded(self, examples: Iterator[Example]) -> Iterator[tuple[torch.Tensor, list[str]]]:
        broken: set[str] = set()
        for example in examples:
            try:
                with Image.open(io.BytesIO(example.file)) as image:
                    found = pixels(image, self.resolution, self.crop, self.flip)
                if self.captions and not example.captions:
                    raise ValueError("it has no caption")
            except Exception as error:  # pillow raises many kinds
                if example.name not in broken:
                    broken.add(example.name)
                    if len(broken) > self.max_broken:
                        raise UserError(f"{example.name} cannot be used ({error}); it is one of {len(broken)}, and data.max_broken={self.max_broken}.") from error
                    print(f"skipped: {example.name} ({error})", file=sys.stderr)
                continue
            yield found, example.captions


def collated(read: list[tuple[torch.Tensor, list[str]]], captions: bool) -> dict:
    batch = {"image": torch.stack([image for image, _ in read])}
    return batch | {"caption": [said[int(torch.randint(len(said), ()))] for _, said in read]} if captions else batch


class Kept(Dataset):
    """Examples that are held in memory, the centre of each, as 8-bit pixels.

    Arguments:
        examples: those that can be read are kept.
        resolution: side in pixels.
        captions: give captions.

    Raises:
        UserError: none can be read.
    """

    classes: dict = {}

    def __init__(self, examples: Sequence[Example], resolution: int, captions: bool = False):
        stream = Stream(None, 1, resolution, 1, captions, max_broken=len(examples))
        kept = list(stream.decoded(iter(examples)))
        if not kept:
            raise UserError("no held-out image can be read; raise data.held_out, or look at the data.")
        self.images = torch.stack([((image + 1) * 127.5).round().to(torch.uint8) for image, _ in kept])
        self.said, self.knows_captions = [captions for _, captions in kept], captions
        if captions:
            self.caption = self.caption_of  # what has the attribute has captions

    def caption_of(self, index: int, variant: int = 0, named=None) -> str:
        return self.said[index][variant % len(self.said[index])]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict:
        batch = {"image": self.images[list(indices)].float().div(127.5).sub(1)}
        return batch | {"caption": [self.said[i][0] for i in indices]} if self.knows_captions else batch
