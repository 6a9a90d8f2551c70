"""Examples from shards of tar files."""

import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlparse

from sdg.data.annotations import TEXT, as_caption_list
from sdg.data.image_files import SUFFIXES
from sdg.data.sources import Example, Source
from sdg.errors import UserError, first_line

__all__ = ["Tars"]

# The signs of RFC 3986 without the quote; it may not begin as an option of a program.
ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://[\w.~:/?#\[\]@!$&()*+,;=%-]+", re.ASCII)


class Tars(Source):
    """WebDataset shards.

    Files of one example stand next to each other and share the name before their first dot.

    Arguments:
        urls: a pattern such as `data/{000..099}.tar`, a glob, or several of either; paths, http(s),
            s3 and what else webdataset opens.
        allow_pipe: whether one may be `pipe:COMMAND`, which a shell runs.

    Raises:
        UserError: nothing is there, or a command stands there and may not.
    """

    def __init__(self, urls: str | Sequence[str], allow_pipe: bool = False):
        patterns = [
            os.path.expanduser(pattern)
            for pattern in ([urls] if isinstance(urls, str) else urls or ())
        ]
        shards = [shard for pattern in patterns for shard in matching_shards(pattern)]
        if not allow_pipe:
            for shard in shards:
                refuse_command(shard)
        missing = [shard for shard in shards if is_path(shard) and not Path(shard).is_file()]
        if missing or not shards:
            raise UserError(
                f"data.urls: there is no shard {missing[0] if missing else urls!r}; name tar "
                f"files, such as data.urls='shards/{{000..099}}.tar'."
            )
        self.parts = shards

    def examples(self, part: str) -> Iterator[Example]:
        from webdataset import tarfile_samples

        try:
            for sample in tarfile_samples([{"url": part}]):
                file = image_in(sample)
                if file is not None:
                    yield Example(file, captions_in(sample), f"{part}: {sample['__key__']}")
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
        # The first is held out: it stays where it is when shards are added.
        rest.parts = self.parts[1:]
        return rest, list(itertools.islice(self.examples(self.parts[0]), held_out))


def is_path(shard: str) -> bool:
    """Whether a shard is a file of this machine, and no address and no command."""
    return "://" not in shard and not shard.startswith("pipe:")


def refuse_command(shard: str) -> None:
    """Refuses what webdataset would hand to a shell: a `pipe:`, or an address in a program's words.

    Raises:
        UserError: it is one.
    """
    scheme = urlparse(shard).scheme
    if scheme == "pipe":
        raise UserError(
            f"data.urls: {shard} runs a command of the shell; data.allow_pipe=true lets it, if you "
            "trust where it comes from."
        )
    if not is_path(shard) and not ADDRESS.fullmatch(shard):
        raise UserError(
            f"data.urls: {shard!r} is no address: write quotes, spaces and other signs in "
            "percent-encoding."
        )


def matching_shards(pattern: str) -> list[str]:
    """The shards of a pattern, with * or with {…}."""
    from webdataset.shardlists import expand_urls

    if "*" not in pattern or "://" in pattern:
        return list(expand_urls(pattern))
    absolute = Path(pattern).is_absolute()
    files = Path("/").glob(pattern[1:]) if absolute else Path().glob(pattern)
    return sorted(map(str, files))


def image_in(sample: dict) -> bytes | None:
    """The image file of a tar file's example; None where it has none."""
    for key, file in sample.items():
        if f".{key.rpartition('.')[2].lower()}" in SUFFIXES:
            return file
    return None


def captions_in(sample: dict) -> list[str]:
    """The captions of a tar file's example: lines of its .txt, or the caption in its .json."""
    if "txt" in sample:
        lines = sample["txt"].decode("utf-8", "replace").split("\n")
        return [line.strip() for line in lines if line.strip()]
    if "json" in sample:
        notes = json.loads(sample["json"])
        if isinstance(notes, dict):
            return as_caption_list(next((notes[name] for name in TEXT if notes.get(name)), []))
    return []
