"""Examples from data sets of the Hugging Face hub."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.utils.data._utils import worker

from sdg.data.annotations import TEXT, as_caption_list
from sdg.data.sources import Example, Source
from sdg.errors import UserError, first_line

__all__ = ["Hub"]


class Hub(Source):
    """A data set of the Hugging Face hub, or of a folder that `datasets` reads.

    It has one part for each of its shards.

    Arguments:
        name: on the hub, or of a builder such as imagefolder or parquet.
        split: of its rows.
        streaming: read while fetching; false fetches all first.
        options: of `datasets.load_dataset`.

    Raises:
        UserError: it cannot be loaded, or has no images.
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
                f"data.name={name}: it cannot be loaded ({type(error).__name__}: "
                f"{first_line(error)}). Offline, fetch it elsewhere and use data=folder."
            ) from error
        if self.image is None:
            raise UserError(
                f"data.name={name} has no column of images; it has: {', '.join(features)}."
            )
        self.text = next((key for key in TEXT if key in features), None)
        self.name, self.parts = name, [str(i) for i in range(self.rows.num_shards)]
        self.skipped: dict[str, int] = {}  # rows of each part that are held out

    def examples(self, part: str) -> Iterator[Example]:
        rows = iter(self.rows.shard(num_shards=len(self.parts), index=int(part)))
        with unshared():
            first = list(itertools.islice(rows, 1))
        for place, row in enumerate(itertools.chain(first, rows)):
            if place >= self.skipped.get(part, 0):
                yield Example(
                    self.file(row[self.image]),
                    as_caption_list(row[self.text] if self.text else []),
                    f"{self.name}, shard {part}, row {place}",
                )

    @staticmethod
    def file(image: dict | None) -> bytes:
        """The bytes of an image, which a row holds or names.

        There are none for what cannot be fetched, which `Stream` then skips like broken files.
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
        first: list[Example] = []
        for part in self.parts:
            own = list(itertools.islice(self.examples(part), held_out - len(first)))
            first.extend(own)
            self.skipped[part] = len(own)
            if len(first) == held_out:
                return self, first
        raise UserError(
            f"data.held_out={held_out}, but {self.name} has {len(first)} images in all; lower it."
        )


@contextmanager
def unshared() -> Iterator[None]:
    """Within it `datasets` does not see that a worker of a loader asks.

    It would share the shard among the workers once more.
    """
    kept = worker._worker_info
    worker._worker_info = None
    try:
        yield
    finally:
        worker._worker_info = kept
