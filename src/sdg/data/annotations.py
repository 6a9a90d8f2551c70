"""Captions and labels of the images of a folder, where people keep them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdg.data.csv_file import parse_table
from sdg.errors import UserError, first_line
from sdg.io.files import regular

__all__ = ["LABELS", "TEXT", "as_caption_list", "captions_of", "labels_of"]

METADATA = (
    "metadata.jsonl",
    "metadata.csv",
)  # of Hugging Face's imagefolder, in the folder or in any below
TEXT = (
    "text",
    "caption",
    "captions",
    "prompt",
)  # the column that is the caption: the first of these that there is
LABELS = (False, "folders", "names", True)  # true: folders


def captions_of(root: Path, files: Sequence[Path], max_silent: int = 0) -> list[list[str]]:
    """The captions of every image: lines of a .txt beside it, else what a metadata file says of it.

    Arguments:
        max_silent: how many images may have none.

    Raises:
        UserError: more have none, or all, or a metadata file cannot be read.
    """
    listed: dict[Path, list[str]] = {}
    for name in METADATA:
        for file in sorted(root.rglob(name)):
            listed |= metadata(file)
    captions, silent = [], []
    for file in files:
        beside = file.with_suffix(".txt")
        lines = (
            [line.strip() for line in text_of(beside).split("\n") if line.strip()]
            if beside.is_file()
            else listed.get(file.resolve(), [])
        )
        captions.append(lines)
        if not lines:
            silent.append(file)
    if len(silent) > max_silent or silent == list(files):
        names = ", ".join(str(file.relative_to(root)) for file in silent[:10])
        more = " …" if len(silent) > 10 else ""
        skip = f" Or leave them out: data.max_broken={len(silent)}."
        raise UserError(
            f"data.captions=true: {len(silent)} of {len(files)} images under {root} have no "
            f"caption: {names}{more}; write it into {silent[0].with_suffix('.txt').name} beside "
            "it, or into metadata.jsonl as "
            f'{{"file_name": "{silent[0].relative_to(root).as_posix()}", "text": "…"}}.'
            f"{skip if len(silent) < len(files) else ''}"
        )
    return captions


def text_of(file: Path) -> str:
    """A file's text, its lines ended by line feeds alone."""
    try:
        return regular(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text; save it as such.") from error
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}.") from error


def metadata(file: Path) -> dict[Path, list[str]]:
    """{image: captions} of a metadata file; its names are relative to its own folder."""
    text = text_of(file)
    rows: list[Any] = (
        parse_lines(text, file) if file.suffix == ".jsonl" else parse_table(text, str(file))
    )
    captions: dict[Path, list[str]] = {}
    for number, row in enumerate(rows, 1):
        name = row.get("file_name") if isinstance(row, dict) else None
        if not name:
            raise UserError(
                f"{file}, row {number}: a file_name and a {' or '.join(TEXT)} are needed."
            )
        try:
            image = (file.parent / str(name)).resolve()
        except (OSError, ValueError) as error:
            raise UserError(
                f"{file}, row {number}: {str(name)[:60]!r} is no name of a file."
            ) from error
        own: Any = next((row[name] for name in TEXT if row.get(name)), [])
        captions.setdefault(image, []).extend(as_caption_list(own))
    if rows and not any(name in row for row in rows for name in TEXT):
        raise UserError(
            f"{file}: none of its rows has a {' or '.join(TEXT)}; its columns are "
            f"{', '.join(map(str, rows[0]))}."
        )
    return captions


def parse_lines(text: str, file: Path) -> list[Any]:
    """The values of a .jsonl, one a line."""
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:  # no JSON, a number of 5000 digits, deep nests
        raise UserError(f"cannot read {file}: {first_line(error)}.") from error


def as_caption_list(value) -> list[str]:
    """One caption or several, without those that say nothing."""
    return [
        words
        for one in (value if isinstance(value, list) else [value])
        if one is not None and (words := str(one).strip())
    ]


def labels_of(root: Path, files: Sequence[Path], how: str | bool) -> list[str]:
    """The class of every image.

    It is the first folder on its way from the root, or, as guided-diffusion reads names, what
    stands before the first _.

    Raises:
        UserError: an image has none.
    """
    labels, how = [], "folders" if how is True else how
    for file in files:
        inside = file.relative_to(root)
        label = ""
        if how == "folders" and len(inside.parts) > 1:
            label = inside.parts[0]
        elif how == "names" and "_" in file.stem:
            label = file.stem.partition("_")[0]
        if not label:
            where = (
                "put each class in a folder of its own"
                if how == "folders"
                else "write it before an underscore, as in cat_0001.png"
            )
            raise UserError(f"data.labels={how}: the image {inside} has no class; {where}.")
        labels.append(label)
    return labels
