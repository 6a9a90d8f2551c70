"""The images that references name, looked at before anything heavy is imported."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdg.app.input_words import as_texts, made_by
from sdg.app.plain import check_text
from sdg.data.image_files import image_files, opened_image
from sdg.data.prompts import parse_weighted_prompt
from sdg.errors import UserError

__all__ = ["HELD_OUT", "check_image", "check_references", "files_of_folder"]

BY_REFERENCE = ("sdg.similarity.Content", "sdg.similarity.Structure", "sdg.similarity.Style")
HELD_OUT = "held-out "  # with a number: a reference from the data's held-out part


def check_image(file: str, setting: str) -> None:
    """Refuses what is no image; of one that is, nothing but its head is read.

    Raises:
        UserError: it is missing, no image, or cannot be read.
    """
    with opened_image(file, setting):
        pass


def check_references(similarities: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> None:
    """Refuses references that are no images.

    Arguments:
        similarities: {similarity: its options}, plain.
        columns: {similarity: its conditions} of the file of prompts.

    Raises:
        UserError: there is one.
    """
    for setting, condition in references(similarities, columns):
        for name, _ in parse_weighted_prompt(condition):
            if not name.startswith(HELD_OUT):
                check_image(name, setting)


def references(
    similarities: Mapping[str, Any], columns: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str]]:
    """(setting, condition) of all that the framework's similarities by reference are given."""
    for kind, options in made_by(similarities, BY_REFERENCE):
        setting = f"similarity.{kind}.reference"
        words = files_of_folder(setting, as_texts(options.get("reference")))
        for condition in [*words, *columns.get(kind, [])]:
            yield setting, condition


def files_of_folder(setting: str, words: list[str]) -> list[str]:
    """The images of a folder, where a setting names one folder and nothing else; else the words.

    Raises:
        UserError: no image is in it, or a file's name is no text.
    """
    if len(words) != 1 or not Path(words[0]).expanduser().is_dir():
        return words
    files = list(map(str, image_files(Path(words[0]).expanduser())))
    if not files:
        raise UserError(f"{setting}: no image in the folder {words[0]}.")
    check_text(files)
    return files
