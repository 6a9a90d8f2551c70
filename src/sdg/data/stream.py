"""Data that is read as it comes: who reads what, in which order, and from where again."""

import copy
import hashlib
import io
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from sdg.data.image import pixels
from sdg.data.image_set import ImageSet
from sdg.data.seeded import seeded
from sdg.data.sources import Example, Source
from sdg.errors import UserError, first_line, integer

__all__ = ["InMemoryDataset", "Stream"]


class Stream(IterableDataset):
    """Batches of examples, without end in sight.

    They are {`image`: (B, 3, H, W) in [-1, 1]} and with `captions` {`caption`: B sentences}.

    An epoch has its own order of parts, and within them its own order of examples among every
    `buffer`; both follow from seed and epoch. Each process and each worker reads parts of its own;
    where there are fewer parts than readers, examples of its own. A file that cannot be read is
    named once and skipped; a process may meet up to `max_broken` of them.

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

    has_captions = False  # none that can be asked for by number

    def __init__(
        self,
        source: Source,
        size: int,
        resolution: int,
        batch_size: int,
        captions: bool = False,
        crop: str = "centre",
        flip: bool = False,
        max_broken: int = 10,
        buffer: int = 1000,
        seed: int = 0,
    ):
        self.source, self.size, self.resolution = source, size, resolution
        self.batch_size, self.captions = batch_size, captions
        self.crop, self.flip, self.seed = crop, flip, seed
        self.max_broken = integer("data.max_broken", max_broken, 0)
        self.buffer = integer("data.buffer", buffer, 1)
        # Digests of the names of files that some worker met, in whatever epoch.
        self.broken = torch.zeros(self.max_broken + 1, dtype=torch.long).share_memory_()
        self.epoch = torch.zeros(1, dtype=torch.long).share_memory_()
        self.done = torch.zeros(1, dtype=torch.long).share_memory_()
        self.rank, self.world = 0, 1

    def __len__(self) -> int:
        """Batches of an epoch, of one process."""
        return max(1, self.size // (self.batch_size * self.world))

    def set_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)

    def __iter__(self) -> Iterator[dict]:
        """This reader's batches of the epoch.

        Of W readers of a process the w-th gives batches w, w + W, …; the first `done` are passed
        over, undecoded.
        """
        worker, done = get_worker_info(), int(self.done)
        workers = worker.num_workers if worker else 1
        w = (
            (worker.id + done) % workers if worker else 0
        )  # the loader asks its workers in turn, from the first one on
        places = range(w, len(self), workers)
        passed = sum(place < done for place in places)
        examples = itertools.islice(
            self.shuffled(self.rank * workers + w, self.world * workers),
            passed * self.batch_size,
            None,
        )
        readable = self.decoded(examples)
        for place in places[passed:]:
            with seeded(self.seed, int(self.epoch), self.rank, place):
                batch = list(itertools.islice(readable, self.batch_size))
                collated_batch = collated(batch, self.captions)
            yield collated_batch

    def shuffled(self, reader: int, readers: int) -> Iterator[Example]:
        """A reader's examples, again and again, each time in another order."""
        for lap in itertools.count():
            order = np.random.default_rng([self.seed, int(self.epoch), lap])
            parts = [self.source.parts[i] for i in order.permutation(len(self.source.parts))]
            own = parts[reader::readers] if len(parts) >= readers else parts
            examples: Iterator[Example]
            examples = itertools.chain.from_iterable(map(self.source.examples, own))
            if len(parts) < readers:
                examples = itertools.islice(examples, reader, None, readers)
            waiting: list[Example] = []
            empty = True
            for example in examples:
                empty = False
                if len(waiting) < self.buffer:
                    waiting.append(example)
                else:
                    place = int(order.integers(self.buffer))
                    waiting[place], example = example, waiting[place]
                    yield example
            if empty:
                raise UserError(
                    f"the data has fewer examples than there are readers, {readers}; lower "
                    "data.num_workers."
                )
            yield from (waiting[i] for i in order.permutation(len(waiting)))

    def decoded(self, examples: Iterator[Example]) -> Iterator[tuple[torch.Tensor, list[str]]]:
        """The images and captions of those examples that have them."""
        failed: set[str] = set()
        failures_in_a_row = 0
        for example in examples:
            try:
                with Image.open(io.BytesIO(example.file)) as image:
                    decoded = pixels(image, self.resolution, self.crop, self.flip)
                if self.captions and not example.captions:
                    raise ValueError("it has no caption")
            except Exception as error:  # pillow raises many kinds
                failed.add(example.name)
                if self.note(example.name):
                    if self.count > self.max_broken:
                        raise UserError(
                            f"{example.name} cannot be used ({first_line(error)}); it is one of "
                            f"{self.count}, and data.max_broken={self.max_broken}."
                        ) from error
                    sys.stderr.write(
                        f"skipped: {example.name} ({first_line(error)})\n"
                    )  # in one piece: workers write at once
                failures_in_a_row += 1
                if failures_in_a_row > 2 * len(
                    failed
                ):  # the end of one lap and the start of the next hold each at most twice
                    raise UserError(
                        f"none of the {len(failed)} images that a reader meets can be used, such "
                        f"as {example.name} ({first_line(error)})."
                    ) from error
                continue
            failures_in_a_row = 0
            yield decoded, example.captions

    def note(self, name: str) -> bool:
        """Marks a file as one that cannot be used; whether that is new.

        Of two workers at the same instant one mark may be lost, and the file is named again.
        """
        mark = (
            int.from_bytes(
                hashlib.sha256(name.encode(errors="replace")).digest()[:8], "big", signed=True
            )
            or 1
        )
        if new := mark not in self.broken.tolist():
            self.broken[min(self.count, self.max_broken)] = mark
        return new

    @property
    def count(self) -> int:
        """How many files could not be used."""
        return int(self.broken.count_nonzero())

    def plain(self) -> "Stream":
        """The same, neither cropped at random nor mirrored.

        Both know what the other could not read.
        """
        other = copy.copy(self)
        other.crop, other.flip = "centre", False
        return other


def collated(
    examples: Sequence[tuple[torch.Tensor, list[str]]], with_captions: bool
) -> dict[str, Any]:
    """A batch of images and captions, one caption of each image's own."""
    batch: dict[str, Any] = {"image": torch.stack([image for image, _ in examples])}
    return (
        batch | {"caption": [one_of(captions) for _, captions in examples]}
        if with_captions
        else batch
    )


def one_of(captions: Sequence[str]) -> str:
    """One caption at random, from torch's generator."""
    return captions[int(torch.randint(len(captions), ()))]


class InMemoryDataset(ImageSet):
    """Examples that are held in memory, the centre of each, as 8-bit pixels.

    Arguments:
        examples: those that can be read are kept.
        stream: how they are read.

    Raises:
        UserError: none can be read, or more than allowed cannot.
    """

    def __init__(self, examples: Sequence[Example], stream: Stream):
        kept = list(stream.plain().decoded(iter(examples)))
        if not kept:
            raise UserError(
                "no held-out image can be read; raise data.held_out, or look at the data."
            )
        self.images = torch.stack(
            [((image + 1) * 127.5).round().to(torch.uint8) for image, _ in kept]
        )
        self.captions, self.has_captions = [captions for _, captions in kept], stream.captions

    def caption(self, index: int, variant: int = 0, named=None) -> str:
        captions = self.captions[index]
        return captions[variant % len(captions)]

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        batch: dict[str, Any] = {"image": self.images[list(indices)].float().div(127.5).sub(1)}
        if self.has_captions:
            batch["caption"] = [self.captions[i][0] for i in indices]
        return batch
