"""What samples shall be like, as users write it.

They write it on the command line, in a file, or leave it to held-out data.
"""

import csv
import io
import os.path
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sdg.errors import UserError, integer, near, number

__all__ = [
    "primary_prompt",
    "read_table",
    "read_conditions",
    "escape_prompt",
    "parse_weighted_prompt",
]

CLOCK = re.compile(r"\b\d{1,2}:\d\d$")  # the time of day at the end of a sentence
HELD_OUT = re.compile(r"held-out \d+:")  # an image by its number
COLUMNS = {"prompt": "text"}  # of a table of requests, where its name is not the similarity's
SAMPLES = 16  # of a run that says nothing of their number


def parse_weighted_prompt(condition: str) -> tuple[tuple[str, float], ...]:
    r"""Parts and their weights.

    "a red heart | a ring:-0.5" is (("a red heart", 1.0), ("a ring", -0.5)); \| is a bar of the
    sentence's own.

    Raises:
        UserError: an empty part, or a weight that is no finite number.
    """
    parts = []
    for part in re.split(r"(?<!\\)\|", condition):
        part = part.replace("\\|", "|").strip()
        text, colon, weight = part.rpartition(":")
        # "C:/image.png", "portrait: a man", "12:30" and names of files hold colons that introduce
        # no weight.
        clock = CLOCK.search(part) and not HELD_OUT.match(part)
        if (
            not colon
            or weight != weight.strip()
            or "/" in weight
            or "\\" in weight
            or clock
            or os.path.isfile(part)
        ):  # False for what is too long for a name
            text, weight = part, "1"
        if not text.strip():
            raise UserError(
                f"{condition!r} has an empty part; write what the image shall show, such as "
                'prompt="a red heart | a white background".'
            )
        try:
            parts.append((text.strip(), number("the weight", float(weight))))
        except (ValueError, UserError):
            raise UserError(
                f"the weight '{weight}' in {condition!r} is not a number; write it behind the "
                'colon, as in "a red heart | a ring:-0.5", or a space behind a colon of the '
                "sentence's own."
            ) from None
    return tuple(parts)


def escape_prompt(sentence: str) -> str:
    """The condition for a sentence as it stands, whatever colons and bars it has."""
    condition = sentence.replace("|", "\\|")
    try:
        return (
            condition
            if parse_weighted_prompt(condition) == ((sentence, 1.0),)
            else f"{condition}:1"
        )
    except UserError:
        return f"{condition}:1"


def primary_prompt(condition: str) -> str:
    """Its part of most weight."""
    return max(parse_weighted_prompt(condition), key=lambda part: part[1])[0]


def read_conditions(
    given: Mapping[str, Sequence[str] | None],
    table: str | None,
    num_samples: int | None = None,
    samples_per_prompt: int | None = None,
    held_out: Mapping[str, Callable[[int], str]] | None = None,
) -> tuple[list[dict[str, str]], int]:
    """What the run's samples shall be like, and the number of samples of each.

    Arguments:
        given: {similarity: what the command line says of it, one for all or one each; None leaves
            it to the table or to held-out data}.
        table: a text file, a sentence a line (# starts a comment), or a .csv whose columns are
            `prompt` or similarities.
        num_samples: of the run, at least; by default 16, or with several conditions one of each.
        samples_per_prompt: samples of each; by default as many as make `num_samples`, of held-out
            conditions 1. It goes before `num_samples`.
        held_out: {similarity: function of a number that gives held-out data's own condition}, for
            what nobody said.

    Raises:
        UserError: a number is out of range, the table cannot be read, a condition is empty or given
            twice, similarities are given different numbers of conditions, or nobody said and
            held-out data has none.
    """
    total = SAMPLES if num_samples is None else integer("num_samples", num_samples, 1)
    each = (
        None if samples_per_prompt is None else integer("samples_per_prompt", samples_per_prompt, 1)
    )
    said = {name: list(values) for name, values in given.items() if values is not None}
    if table is not None:
        if "text" in said:
            raise UserError("give prompt= or prompts=, not both.")
        rows = read_table(Path(table).expanduser())
        for name in rows:
            if name not in given:
                raise UserError(
                    f"prompts: {table} has a column '{name}', which no similarity of this run "
                    f"reads{near(name, given) or '.'} This run has similarity=[{','.join(given)}]."
                )
            if name in said:
                raise UserError(
                    f"similarity.{name} is given twice: on the command line and in {table}."
                )
        said |= rows
    for name, values in said.items():
        if not values:
            raise UserError(
                f"{'prompt' if name == 'text' else f'similarity.{name}'}: the list is empty."
            )
        for row, value in enumerate(values, 1):
            if not value.strip() and table is not None and name in rows:
                raise UserError(f"prompts: {table} says nothing for {name} in row {row}.")
            if not value.strip():
                raise UserError(
                    'prompt is empty; write what the images shall show, such as prompt="a red '
                    'heart".'
                    if name == "text"
                    else f"similarity.{name}: nothing is named."
                )
    counts = {len(values) for values in said.values() if len(values) > 1}
    if len(counts) > 1:
        raise UserError(
            "the similarities are given "
            + ", ".join(f"{len(values)} of {name}" for name, values in said.items())
            + "; give one of each, or equally many."
        )
    count = counts.pop() if counts else 1 if said else -(-total // (each or 1))
    each = each or (1 if not said or (count > 1 and num_samples is None) else -(-total // count))
    conditions = []
    for i in range(count):
        # Each similarity that is left to held-out data takes another part of it, so that a sentence
        # and a style do not come from one image.
        conditions.append(
            {
                name: (
                    said[name][i if len(said[name]) > 1 else 0]
                    if name in said
                    else left_open(name, held_out)(i + k * count)
                )
                for k, name in enumerate(given)
            }
        )
    return conditions, each


def left_open(name: str, held_out):
    if not held_out or name not in held_out:
        how = {
            "text": 'prompt="…" or prompts=FILE, or if its images have captions, '
            "data.captions=true",
            "class": "similarity.class.name=CLASS",
        }.get(name, f"similarity.{name}.reference=FILE")
        raise UserError(
            "this data has no held-out "
            f"{'captions' if name == 'text' else 'classes' if name == 'class' else 'images'} to "
            f"draw: say what with {how}."
        )
    return held_out[name]


def read_table(file: Path, key: str = "prompts") -> dict[str, list[str]]:
    """{similarity: its column} of a .csv, or {"text": lines} of a text file.

    `key` is the setting that names it.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{key}: cannot read {file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{key}: {file} is not UTF-8 text.") from error
    if file.suffix.lower() == ".csv":
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        columns = {
            COLUMNS.get(name, name): [(row[name] or "") for row in rows]
            for name in (rows[0] if rows else ())
            if name is not None
        }
    else:
        columns = {
            "text": [
                line.strip()
                for line in text.split("\n")
                if line.strip() and not line.lstrip().startswith("#")
            ]
        }
    if not columns or not next(iter(columns.values())):
        raise UserError(f"{key}: {file} has no sentence; write one a line.")
    return columns
