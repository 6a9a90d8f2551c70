"""Banks of sentences over which beliefs about images are compared."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from sdg.data.prompts import read_table
from sdg.errors import UserError, integer
from sdg.io.shipped import on_this_machine

__all__ = ["Bank", "Captions", "Neighbours", "SentenceFile", "Templates", "banks_of", "one_group"]

POOL = 4096  # captions that are encoded once, beside those of each batch
PART = 256  # sentences encoded at once
HELD_OUT = 256  # captions of held-out images, for validation
NEIGHBOURS_POOL = 32768  # of them, for groups of neighbours: near ones are rare
NEAREST = 64  # captions of a group of neighbours
VALIDATED = 8  # groups of neighbours in validation

Encode = Callable[[list[str]], Tensor]


def encoded(sentences: Sequence[str], encode: Encode) -> Tensor:
    """Unit embeddings of many sentences, (N, D), a part at a time."""
    parts = range(0, len(sentences), PART)
    return torch.cat([encode(list(sentences[start : start + PART])) for start in parts])


def some(embeddings: Tensor, size: int) -> Tensor:
    """Random rows, at most all, (min(N, size), D); from torch's generator."""
    if size >= len(embeddings):
        return embeddings
    return embeddings[torch.randperm(len(embeddings))[:size].to(embeddings.device)]


def one_group(banks: Sequence[Sequence[Tensor]]) -> Tensor:
    """A group of sentences at random, of a bank at random; from torch's generator."""
    groups = banks[int(torch.randint(len(banks), ()))]
    return groups[int(torch.randint(len(groups), ()))]


class Bank(ABC):
    """Groups of sentences, unit embeddings (K, D) each; a belief is a distribution over one group.

    Attributes:
        name: by which validation calls it.
    """

    name: str

    @abstractmethod
    def sample(self, batch: dict) -> list[Tensor]:
        """The groups of one training step."""

    @abstractmethod
    def held_out(self) -> list[Tensor]:
        """The groups of validation, always the same."""


class Captions(Bank):
    """Captions of the data: those of the batch's own images first, then others at random.

    The captions of a batch are draws of p(y), worded anew each time; which image one came with is
    not used. The others come from a pool that is encoded once, so that a step encodes no more than
    a batch.

    Arguments:
        train: training images, with `caption(index, variant)`; without it, as of a stream, the
            batch's captions are all.
        held_out: images for validation, with the same.
        size: K.
        encode: E_text.

    Raises:
        UserError: the data has no captions.
    """

    name, pool_size = "captions", POOL

    def __init__(self, train, held_out, size: int, encode: Encode):
        if not held_out.has_captions:
            raise UserError(
                "module.bank=captions: this data has no captions; use module.bank=templates, "
                "or a file of sentences."
            )
        self.train, self.images, self.size, self.encode = train, held_out, size, encode

    @property
    def has_pool(self) -> bool:
        """Whether the training images have captions that can be asked for."""
        return self.train is not None and self.train.has_captions

    @cached_property
    def pool(self) -> Tensor:
        """Captions of training images, unit embeddings (min(N, `pool_size`), D)."""
        count, total = min(self.pool_size, len(self.train)), len(self.train)
        captions = [self.train.caption(k * total // count, variant=1 + k) for k in range(count)]
        return encoded(captions, self.encode)

    @cached_property
    def fixed(self) -> Tensor:
        count = min(HELD_OUT, len(self.images))
        return encoded([self.images.caption(i, variant=1) for i in range(count)], self.encode)

    def sample(self, batch: dict) -> list[Tensor]:
        own = encoded(batch["caption"][: self.size], self.encode)
        if not self.has_pool or len(own) == self.size:
            return [own]
        return [torch.cat([own, some(self.pool.to(own), self.size - len(own))])]

    def held_out(self) -> list[Tensor]:
        return [self.fixed]


class Neighbours(Captions):
    """Captions that nearly say the same: each group is a caption of the pool and its nearest ones.

    Captions at random differ in so much that the coarse parts of an image tell which is true, and
    nothing is left to learn from a small one. Near ones share most of what they say. What a group
    is about does not depend on the batch, so the belief over it stays one of the image alone.

    Arguments:
        train, held_out, size, encode: as of `Captions`; `size` is that of all groups together.

    Raises:
        UserError: the data has no captions, or is a stream.
    """

    name, pool_size = "neighbours", NEIGHBOURS_POOL

    def __init__(self, train, held_out, size: int, encode: Encode):
        super().__init__(train, held_out, size, encode)
        if not self.has_pool:
            raise UserError(
                "module.bank=neighbours needs training images with captions, and no stream; "
                "use module.bank=captions."
            )

    def sample(self, batch: dict) -> list[Tensor]:
        count = max(1, self.size // NEAREST)
        return nearest(some(self.pool, count), self.pool)

    def held_out(self) -> list[Tensor]:
        return nearest(self.fixed[:: len(self.fixed) // VALIDATED or 1], self.fixed)


def nearest(anchors: Tensor, embeddings: Tensor) -> list[Tensor]:
    """For each anchor (A, D) its nearest unit embeddings by cosine, (min(N, 64), D)."""
    found = (anchors @ embeddings.T).topk(min(NEAREST, len(embeddings)), dim=1).indices
    return [embeddings[row] for row in found]


class Sentences(Bank):
    """Given groups of sentences, encoded once.

    Arguments:
        groups: of sentences.
        size: of each group in a step, at random; K.
        encode: E_text.
    """

    def __init__(self, groups: Sequence[Sequence[str]], size: int, encode: Encode):
        self.groups, self.size, self.encode = groups, size, encode

    @cached_property
    def embeddings(self) -> list[Tensor]:
        return [encoded(group, self.encode) for group in self.groups]

    def sample(self, batch: dict) -> list[Tensor]:
        return [some(group, self.size) for group in self.embeddings]

    def held_out(self) -> list[Tensor]:
        return [group[:HELD_OUT] for group in self.embeddings]


class SentenceFile(Sentences):
    """The lines of a text file, or the column `prompt` of a .csv.

    Raises:
        UserError: it cannot be read, or has fewer than two lines.
    """

    name = "file"

    def __init__(self, file: str, size: int, encode: Encode):
        place = on_this_machine(file)
        if place is None or not place.is_file():
            raise UserError(
                "module.bank must be captions, neighbours, templates or a file of sentences, one "
                f"a line; there is no file {file!r}."
            )
        columns = read_table(place, "module.bank")
        if "text" not in columns:
            raise UserError(f"module.bank: {file} has no column 'prompt'.")
        sentences = list(dict.fromkeys(columns["text"]))
        if len(sentences) < 2:
            raise UserError(
                f"module.bank: {file} has {len(sentences)} different sentences; "
                "a belief needs at least two, one a line."
            )
        super().__init__([sentences], size, encode)


class Templates(Sentences):
    """The captions of the data's classes, a group for each factor of two values or more.

    Raises:
        UserError: the data has no classes.
    """

    name = "templates"

    def __init__(self, classes: dict[str, dict[str, str]], encode: Encode):
        groups = [list(captions.values()) for captions in classes.values() if len(captions) > 1]
        if not groups:
            raise UserError(
                "module.bank=templates: this data has no classes; use module.bank=captions, "
                "or a file of sentences."
            )
        super().__init__(groups, max(map(len, groups)), encode)


def banks_of(names: str | Sequence[str], size: int, train, held_out, encode: Encode) -> list[Bank]:
    """The banks of `module.bank`: captions, neighbours, templates, a file, or several.

    Arguments:
        size: sentences of each in a step.
        train, held_out: the data's parts.
        encode: E_text, from sentences to unit embeddings (N, D).
    """
    integer("module.bank_size", size, 2)
    banks: list[Bank] = []
    for name in [names] if isinstance(names, str) else list(names):
        if name == "captions":
            banks.append(Captions(train, held_out, size, encode))
        elif name == "neighbours":
            banks.append(Neighbours(train, held_out, size, encode))
        elif name == "templates":
            banks.append(Templates(held_out.classes, encode))
        else:
            banks.append(SentenceFile(str(name), size, encode))
    if not banks:
        raise UserError(
            "module.bank is empty: name captions, neighbours, templates or a file of sentences."
        )
    return banks
