"""What a sampling run is asked for: a seed, and what the sample shall be like, for every sample."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from sdg.errors import UserError, integer, near, number

__all__ = ["Request", "Requests", "read_table", "read_wishes", "weighted"]

Wishes = Mapping[str, str]  # {similarity: what the sample shall be like, as the user wrote it}
CLOCK = re.compile(r"\b\d{1,2}:\d\d$")  # the time of day at the end of a sentence
HELD_OUT = re.compile(r"held-out \d+:")  # an image by its number
COLUMNS = {"prompt": "text"}  # of a table of requests, where its name is not the similarity's


class Request(NamedTuple):
    """One sample: its place in the run, the seed of all its noise, and what it shall be like."""

    index: int
    seed: int
    wishes: Wishes


class Requests(Dataset):
    """K requests for each of the wishes, in order; a sample's seed follows from the run's seed and its index alone."""

    def __init__(self, wishes: Sequence[Wishes], each: int, seed: int):
        every = [wish for wish in wishes for _ in range(each)]
        self.requests = [Request(i, int(np.random.SeedSequence([seed, i]).generate_state(1, np.uint64)[0] >> 1), wish)
                         for i, wish in enumerate(every)]

    def __len__(self) -> int:
        return len(self.requests)

    def __getitem__(self, index: int) -> Request:
        return self.requests[index]


def weighted(wish: str) -> tuple[tuple[str, float], ...]:
    """Parts and their weights: "a red heart | a ring:-0.5" is (("a red heart", 1.0), ("a ring", -0.5)).

    Raises:
        UserError: an empty part, or a weight that is no finite number.
    """
    parts = []
    for part in wish.split("|"):
        text, colon, weight = part.strip().rpartition(":")
        # "C:/image.png", "portrait: a man", "12:30" and names of files hold colons that introduce no weight.
        clock = CLOCK.search(part.strip()) and not HELD_OUT.match(part.strip())
        if not colon or weight != weight.strip() or "/" in weight or "\\" in weight or clock or Path(part.strip()).is_file():
            text, weight = part.strip(), "1"
        if not text.strip():
            raise UserError(f"{wish!r} has an empty part; write what the image shall show, such as prompt=\"a red heart | a white background\".")
        try:
            parts.append((text.strip(), number("the weight", float(weight))))
        except (ValueError, UserError):
            raise UserError(f"the weight '{weight}' in {wish!r} is not a number; write it behind the colon, as in \"a red heart | a ring:-0.5\", or a space behind a colon of the sentence's own.") from None
    return tuple(parts)


def read_wishes(given: Mapping[str, Sequence[str] | None], table: str | None, num_samples: int, samples_per_prompt: int | None,
                held_out=None) -> tuple[list[dict[str, str]], int]:
    """What the run's samples shall be like, and the number of samples of each.

    Arguments:
        given: {similarity: what the command line says of it, one for all or one each; None leaves it to the table or to held-out data}.
        table: a text file, a sentence a line (# starts a comment), or a .csv whose columns are `prompt` or similarities.
        num_samples: of the run, where nothing else gives the number of wishes.
        samples_per_prompt: samples of each; by default 1, or all for a single one.
        held_out: {similarity: function of a number that gives held-out data's own wish}, for what nobody said.
    """
    integer("num_samples", num_samples, 1)
    each = None if samples_per_prompt is None else integer("samples_per_prompt", samples_per_prompt, 1)
    said = {name: list(values) for name, values in given.items() if values is not None}
    if table is not None:
        if "text" in said:
            raise UserError("give prompt= or prompts=, not both.")
        rows = read_table(Path(table).expanduser())
        for name in rows:
            if name not in given:
                raise UserError(f"prompts: {table} has a column '{name}', which no similarity of this run reads{near(name, given) or '.'} This run has similarity=[{','.join(given)}].")
            if name in said:
                raise UserError(f"similarity.{name} is given twice: on the command line and in {table}.")
        said |= rows
    for name, values in said.items():
        if not values:
            raise UserError(f"{'prompt' if name == 'text' else f'similarity.{name}'}: the list is empty.")
        for row, value in enumerate(values, 1):
            if not value.strip() and table is not None and name in rows:
                raise UserError(f"prompts: {table} says nothing for {name} in row {row}.")
            if not value.strip():
                raise UserError("prompt is empty; write what the images shall show, such as prompt=\"a red heart\"." if name == "text" else f"similarity.{name}: nothing is named.")
    counts = {len(values) for values in said.values() if len(values) > 1}
    if len(counts) > 1:
        raise UserError("the similarities are given " + ", ".join(f"{len(values)} of {name}" for name, values in said.items())
                        + "; give one of each, or equally many.")
    count = counts.pop() if counts else 1 if said else -(-num_samples // (each or 1))
    each = each or (num_samples if said and count == 1 else 1)
    wishes = []
    for i in range(count):
        # Each similarity that is left to held-out data takes another part of it, so that a sentence and a style do not come from one image.
        wishes.append({name: (said[name][i if len(said[name]) > 1 else 0] if name in said else left_open(name, held_out)(i + k * count))
                       for k, name in enumerate(given)})
    return wishes, each


def left_open(name: str, held_out):
    if not held_out or name not in held_out:
        how = {"text": "prompt=\"…\" or prompts=FILE", "class": "similarity.class.name=CLASS"}.get(name, f"similarity.{name}.reference=FILE")
        raise UserError(f"this data has no held-out {'captions' if name == 'text' else 'classes' if name == 'class' else 'images'} to draw: say what with {how}.")
    return held_out[name]


def read_table(file: Path, key: str = "prompts") -> dict[str, list[str]]:
    """{similarity: its column} of a .csv, or {"text": lines} of a text file; `key` is the setting that names it."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{key}: cannot read {file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{key}: {file} is not UTF-8 text.") from error
    if file.suffix.lower() == ".csv":
        rows = list(csv.DictReader(text.splitlines()))
        columns = {COLUMNS.get(name, name): [(row[name] or "") for row in rows] for name in (rows[0] if rows else ()) if name is not None}
    else:
        columns = {"text": [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]}
    if not columns or not next(iter(columns.values())):
        raise UserError(f"{key}: {file} has no sentence; write one a line.")
    return columns
