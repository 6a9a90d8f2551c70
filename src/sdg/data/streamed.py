"""DataModules of data that is read as it comes."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch.utils.data import DataLoader

from sdg.data.datamodule import Data, require_setup
from sdg.data.hub_source import Hub
from sdg.data.image import CROPS
from sdg.data.loader import Resumable
from sdg.data.sources import Example, Source
from sdg.data.stream import InMemoryDataset, Stream
from sdg.data.tar_source import Tars
from sdg.errors import UserError, choice, integer

__all__ = ["HubData", "TarData"]


class Streamed(Data):
    """Data that is read as it comes; its held-out part is kept in memory.

    Arguments:
        size: images of an epoch.
        held_out: number of held-out images.
        resolution, captions, crop, flip, max_broken, buffer: as of `Stream`.
        seed: of the order.
    """

    train: Stream | None = None
    held_out: InMemoryDataset | None = None

    def __init__(
        self,
        size: int = 50_000,
        held_out: int = 1_000,
        resolution: int = 64,
        captions: bool = False,
        crop: str = "centre",
        flip: bool = False,
        max_broken: int = 10,
        buffer: int = 1_000,
        seed: int = 0,
        batch_size: int = 64,
        num_workers: int = 0,
    ):
        super().__init__(resolution, batch_size, num_workers)
        self.count = integer("data.held_out", held_out, 1)
        self.size = integer("data.size", size, batch_size)
        self.options: dict[str, Any] = {
            "captions": captions,
            "crop": choice("data.crop", crop, CROPS),
            "flip": choice("data.flip", flip, (False, True)),
            "max_broken": max_broken,
            "buffer": buffer,
            "seed": seed,
        }

    @abstractmethod
    def parts(self) -> tuple[Source, Sequence[Example]]:
        """The source of training examples, and the held-out ones."""

    @property
    def captions(self) -> list[str]:
        raise UserError(
            "the words of data that is streamed are not known beforehand: use "
            "encoder.tokenizer=bpe."
        )

    def setup(self, stage: str) -> None:
        if self.held_out is None:
            source, apart = self.parts()
            self.train = Stream(source, self.size, self.resolution, self.batch_size, **self.options)
            self.held_out = InMemoryDataset(apart, self.train)

    def skipped_report(self) -> list[str]:
        count = require_setup(self.train).count
        if not count:
            return []
        return [f"{count} files could not be used and were skipped; they are named above."]

    def identity(self) -> dict:
        images = require_setup(self.held_out).images
        return {
            "data": "stream",
            "images": hashlib.sha256(images.numpy().tobytes()).hexdigest(),
            "resolution": self.resolution,
        }

    def train_dataloader(self) -> DataLoader:
        stream = require_setup(self.train)
        stream.world, stream.rank = self.place()
        return Resumable(stream, self.epoch, batch_size=None, **self.loading())


class TarData(Streamed):
    """WebDataset shards.

    Arguments:
        urls: as of `Tars`.
        held_out_urls: shards of their own for the held-out images; None takes the first of `urls`.
        allow_pipe: as of `Tars`.
        options: `Streamed`'s.
    """

    def __init__(self, urls, held_out_urls=None, allow_pipe: bool = False, **options):
        super().__init__(**options)
        self.urls, self.held_out_urls = urls, held_out_urls
        self.allow_pipe = choice("data.allow_pipe", allow_pipe, (False, True))

    def parts(self) -> tuple[Source, Sequence[Example]]:
        if self.held_out_urls is None:
            return self.tars(self.urls).split(self.count)
        return self.tars(self.urls), self.tars(self.held_out_urls).first(self.count)

    def tars(self, urls) -> Tars:
        return Tars(urls, self.allow_pipe)


class HubData(Streamed):
    """A data set of the Hugging Face hub.

    Arguments:
        name, split, streaming, options: as of `Hub`.
        held_out_split: of the held-out images; None takes the first of `split`.
        settings: `Streamed`'s.
    """

    def __init__(
        self,
        name: str,
        split: str = "train",
        held_out_split: str | None = None,
        streaming: bool = True,
        options: dict | None = None,
        **settings,
    ):
        super().__init__(**settings)
        self.dataset, self.split, self.held_out_split = name, split, held_out_split
        self.hub: dict[str, Any] = {"streaming": streaming, **(options or {})}

    def parts(self) -> tuple[Source, Sequence[Example]]:
        source = Hub(self.dataset, self.split, **self.hub)
        if self.held_out_split is None:
            return source.split(self.count)
        return source, Hub(self.dataset, self.held_out_split, **self.hub).first(self.count)
