"""Words of a command that its encoder or its data does not know, seen before either is loaded."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sdg.data.class_names import class_names, names_in, unknown_class
from sdg.data.prompts import parse_weighted_prompt
from sdg.io.metadata import metadata_of
from sdg.io.shipped import on_this_machine
from sdg.models.words import Words

__all__ = ["as_texts", "check_classes", "check_words", "made_by"]

TEXT, CLASS = "sdg.similarity.Text", "sdg.similarity.Class"


def check_words(config: Mapping[str, Any], columns: Mapping[str, list[str]]) -> None:
    """Refuses a prompt that the CLIP beside a noise-aware encoder cannot read.

    Arguments:
        columns: {similarity: its conditions} of the file of prompts.

    Raises:
        UserError: there is one.
    """
    asked = [sentence for _, sentence in conditions(config, columns, TEXT, "prompt")]
    own = header_of(config["encoder"].get("clip"))
    if not asked or own is None:
        return
    try:
        known = Words(own["words"], own["model"]["text_cfg"]["context_length"])
    except Exception:  # it is no CLIP of ours, which is said when it is read
        return
    if known.index:
        for sentence in asked:
            known.word_numbers(sentence)


def check_classes(config: Mapping[str, Any], columns: Mapping[str, list[str]]) -> None:
    """Refuses a class that neither the data nor the classifier that guides knows.

    Arguments:
        columns: {similarity: its conditions} of the file of prompts.

    Raises:
        UserError: there is one.
    """
    for options, name in conditions(config, columns, CLASS, "name"):
        if options.get("form") == "classifier":
            known = classifier_names(header_of(config["encoder"].get("weights")))
        else:
            known = class_names(config["data"])
        if known is not None and name not in known:
            raise unknown_class(name, known)


def classifier_names(header: Mapping[str, Any] | None) -> list[str] | None:
    """The classes that a classifier's file names; None where it names none."""
    factors = (header or {}).get("classes")
    return names_in(factors) if isinstance(factors, Mapping) else None


def conditions(
    config: Mapping[str, Any], columns: Mapping[str, list[str]], target: str, option: str
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """(options, part of a condition) of all that is asked of the similarities of a class."""
    for kind, options in made_by(config["similarity"], (target,)):
        for condition in [*as_texts(options.get(option)), *columns.get(kind, [])]:
            for part, _ in parse_weighted_prompt(condition):
                yield options, part


def header_of(path: Any) -> dict[str, Any] | None:
    """The config of a .safetensors of this project; None where none is read so fast."""
    place = on_this_machine(path) if isinstance(path, str) else None
    if place is None or place.suffix != ".safetensors":
        return None
    try:
        config = json.loads(metadata_of(place)["sdg"])["config"]
    except Exception:  # it is another's, or damaged, which is said when it is read
        return None
    return config if isinstance(config, dict) else None


def made_by(similarities: Mapping[str, Any], targets: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(similarity, its options) of those that one of these classes makes."""
    for kind, options in similarities.items():
        if isinstance(options, Mapping) and options.get("_target_") in targets:
            yield kind, options


def as_texts(value: Any) -> list[str]:
    """A setting that may be null, one value or several, as texts."""
    values = value if isinstance(value, list) else [value]
    return [str(each) for each in values if each is not None]
