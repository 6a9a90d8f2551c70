"""Prompts with weighted parts, and files of prompts."""

import os.path
import re
from pathlib import Path

from sdg.data.csv_file import parse_table
from sdg.errors import UserError, number
from sdg.io.files import regular

__all__ = [
    "absent_image",
    "primary_prompt",
    "read_table",
    "escape_prompt",
    "parse_weighted_prompt",
]

CLOCK = re.compile(r"\b\d{1,2}:\d\d$")  # the time of day at the end of a sentence
RATIO = re.compile(r"(?<=\s)\d+:\d+$")  # "in 16:9", or a weight as in "the number 5:2"
HELD_OUT = re.compile(r"held-out \d+:")  # an image by its number
COLUMNS = {"prompt": "text"}  # of a table of requests, where its name is not the similarity's


def parse_weighted_prompt(condition: str) -> tuple[tuple[str, float], ...]:
    r"""Parts and their weights.

    "a red heart | a ring:-0.5" is (("a red heart", 1.0), ("a ring", -0.5)); \| is a bar of the
    sentence's own.

    Raises:
        UserError: an empty part, a weight that is no finite number or may be part of a ratio, or no
            weight but 0.
    """
    parts: list[tuple[str, float]] = []
    for part in re.split(r"(?<!\\)\|", condition):
        part = part.replace("\\|", "|").strip()
        text, colon, weight = part.rpartition(":")
        # "C:/image.png", "portrait: a man", "12:30" and names of files hold colons that introduce
        # no weight.
        numbered_image = HELD_OUT.match(part)
        if (
            not colon
            or weight != weight.strip()
            or "/" in weight
            or "\\" in weight
            or (CLOCK.search(part) and not numbered_image)
            or os.path.isfile(part)
        ):  # False for what is too long for a name
            text, weight = part, "1"
        elif RATIO.search(part) and not numbered_image:
            raise UserError(
                f"{part!r} ends in a weight or in a ratio; write '{part}.0' for the weight, or "
                f"'{part}:1' for the ratio."
            )
        if not text.strip():
            raise UserError(
                f"{condition!r} has an empty part; write what the image shall show, such as "
                'prompt="one sentence | another".'
            )
        try:
            if "_" in weight:  # which Python takes between digits
                raise ValueError(weight)
            parts.append((text.strip(), number("the weight", float(weight))))
        except (ValueError, UserError):
            raise UserError(
                f"the weight '{weight}' in {condition!r} is not a number; write it behind the "
                'colon, as in "one sentence | another:-0.5", or a space behind a colon of the '
                "sentence's own."
            ) from None
    if not any(weight for _, weight in parts):
        raise UserError(
            f"{condition!r} asks for nothing, as its weight is 0; leave it out, or sample with a "
            "guidance of gamma 0."
        )
    return tuple(parts)


def escape_prompt(sentence: str) -> str:
    """The condition for a sentence as it stands, whatever colons and bars it has."""
    condition = sentence.replace("|", "\\|")
    weighted = f"{condition}:1.0"  # which no ratio ends in
    try:
        as_it_stands = parse_weighted_prompt(condition) == ((sentence, 1.0),)
    except UserError:
        return weighted
    return condition if as_it_stands else weighted


def primary_prompt(condition: str) -> str:
    """The prompt of most weight in a condition."""
    return max(parse_weighted_prompt(condition), key=lambda part: part[1])[0]


def absent_image(file: str | Path, setting: str = "") -> UserError:
    """The error of a setting that names an image which is not there."""
    where = "" if Path(file).expanduser().is_absolute() else f" (looked for from {Path.cwd()})"
    return UserError(f"{setting and f'{setting}: '}there is no image {file}{where}.")


def read_table(file: Path, key: str = "prompts") -> dict[str, list[str]]:
    """{similarity: its column} of a .csv, or {"text": lines} of a text file.

    `key` is the setting that names it.
    """
    try:
        text = regular(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{key}: cannot read {file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{key}: {file} is not UTF-8 text.") from error
    if "\0" in text:
        raise UserError(f"{key}: {file} holds NUL bytes, so it is no UTF-8 text; save it as such.")
    if file.suffix.lower() == ".csv":
        rows = parse_table(text, f"{key}: {file}")
        names = list(rows[0]) if rows else []
        if "prompt" in names and "text" in names:
            raise UserError(f"{key}: {file} has both columns, prompt and text; leave one out.")
        columns = {}
        for name in names:
            columns[COLUMNS.get(name, name)] = [row[name] for row in rows]
    else:
        lines = [line.strip() for line in text.split("\n")]
        columns = {"text": [line for line in lines if line and not line.startswith("#")]}
    if not columns or not next(iter(columns.values())):
        raise UserError(f"{key}: {file} has no sentence; write one a line.")
    return columns
