"""Files and words that a command names, looked at before anything heavy is imported.

What is not seen here is seen when it is read. Options of the user's own classes are theirs: only
the framework's own are known to name files.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sdg.data.prompts import absent_image, parse_weighted_prompt, read_table
from sdg.io.files import existing_folder
from sdg.io.hub import Absent, is_hub_name, located
from sdg.io.metadata import metadata_of
from sdg.io.shipped import on_this_machine
from sdg.models.words import Words

__all__ = ["check_inputs", "check_root", "check_training_inputs"]

BY_REFERENCE = ("sdg.similarity.Content", "sdg.similarity.Structure", "sdg.similarity.Style")
HELD_OUT = "held-out "  # a reference of the data's own
TEXT = "sdg.similarity.Text"
FOLDER = "sdg.data.folder_data.FolderData"


def check_root(data: Mapping[str, Any]) -> None:
    """Refuses a folder of the user's own images that is not there.

    Raises:
        UserError: it is not.
    """
    if data.get("_target_") == FOLDER:
        existing_folder("data.root", data["root"])


def check_inputs(config: Mapping[str, Any]) -> None:
    """Refuses a file of a sampling run that is not there, and a word that its CLIP does not know.

    Arguments:
        config: plain, and each setting of it of the right kind.

    Raises:
        UserError: there is one.
    """
    columns = {}
    if config["prompts"] is not None and config["prompt"] is None:  # both are refused together
        columns = read_table(Path(config["prompts"]).expanduser())
    if config["init_image"] is not None and not exists(config["init_image"]):
        raise absent_image(config["init_image"], "init_image")
    for kind, name in references(config["similarity"]):
        if not name.startswith(HELD_OUT) and not exists(name):
            raise absent_image(name, f"similarity.{kind}.reference")
    guided = config["guidance"].get("gamma") != 0
    check_there(weights(config, guided))
    if guided:
        check_words(config, columns)


def check_training_inputs(config: Mapping[str, Any]) -> None:
    """Refuses weights that a training begins from, or learns beside, and that are not there.

    Arguments:
        config: plain.

    Raises:
        Absent: there are some.
    """
    files = {f"denoiser.{key}": config["denoiser"].get(key) for key in ("path", "autoencoder")}
    module = config["module"]
    if str(module.get("_target_", "sdg.")).startswith("sdg."):
        files |= {f"module.{key}": module.get(key) for key in ("denoiser", "autoencoder")}
    check_there((key, path) for key, path in files.items() if isinstance(path, str))


def check_there(files: Iterable[tuple[str, str]]) -> None:
    """Raises `Absent` for the first (setting, file) that is neither here nor a name on the hub."""
    for key, path in files:
        if is_hub_name(path):
            continue
        try:
            located(path)
        except Absent as error:
            raise Absent(f"{key}: {error}") from error


def exists(file: str) -> bool:
    return Path(file).expanduser().exists()


def references(similarities: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(similarity, file) of all that the command line refers to."""
    for kind, options in made_by(similarities, BY_REFERENCE):
        for condition in as_texts(options.get("reference")):
            for name, _ in parse_weighted_prompt(condition):
                yield kind, name


def made_by(similarities: Mapping[str, Any], targets: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(similarity, its options) of those that one of these classes makes."""
    for kind, options in similarities.items():
        if isinstance(options, Mapping) and options.get("_target_") in targets:
            yield kind, options


def as_texts(value: Any) -> list[str]:
    """A setting that may be null, one value or several, as texts."""
    values = value if isinstance(value, list) else [value]
    return [str(each) for each in values if each is not None]


def weights(config: Mapping[str, Any], guided: bool) -> Iterator[tuple[str, str]]:
    """(setting, file) of the weights without which no sample can be drawn."""
    denoiser, encoder = config["denoiser"], config["encoder"]
    if "_target_" not in denoiser:
        for key in ("weights", "path", "autoencoder", "autoguidance"):
            if denoiser.get(key):
                yield f"denoiser.{key}", denoiser[key]
    ours = encoder.get("_target_", "sdg.").startswith("sdg.")
    if guided and ours and encoder.get("name") is None:
        for key in ("weights", "clip"):
            if encoder.get(key):
                yield f"encoder.{key}", encoder[key]


def check_words(config: Mapping[str, Any], columns: Mapping[str, list[str]]) -> None:
    """Refuses a prompt that the CLIP beside a noise-aware encoder cannot read.

    Arguments:
        columns: {similarity: its conditions} of the file of prompts.

    Raises:
        UserError: there is one.
    """
    conditions = []
    for kind, options in made_by(config["similarity"], (TEXT,)):
        conditions += [*as_texts(options.get("prompt")), *columns.get(kind, [])]
    clip = config["encoder"].get("clip")
    place = on_this_machine(clip) if isinstance(clip, str) else None
    if not conditions or place is None or place.suffix != ".safetensors":
        return
    try:
        own = json.loads(metadata_of(place)["sdg"])["config"]
        known = Words(own["words"], own["model"]["text_cfg"]["context_length"])
    except Exception:  # it is no CLIP of ours, or damaged, which is said when it is read
        return
    if not known.index:
        return
    for condition in conditions:
        for sentence, _ in parse_weighted_prompt(condition):
            known.word_numbers(sentence)
