"""`sdg-checkpoints inspect FILE` says what a file or folder is.

`convert FILE OUT` writes it as safetensors or as a folder; `push FOLDER owner/name` gives a folder
to the hub.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from sdg.app.checkpoint_commands import command_parser
from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError, first_line, near
from sdg.io.diffusers_export import why_not_exportable
from sdg.io.hub import located, push
from sdg.io.noisy_clips import foreign_part
from sdg.io.pretrained import ASKED, PROMPTS, DenoiserFile, MissingSettings, open_denoiser
from sdg.io.shipped import INDEX, on_this_machine
from sdg.io.tensors import tensor_shapes
from sdg.io.weights import header, safetensors_of, save
from sdg.io.weights_folder import save_folder
from sdg.models.glide import GlideTextEncoder
from sdg.models.noisy import NoisyEncoder
from sdg.models.registry import Part, denoiser_from, from_pretrained, kind_of
from sdg.models.stages import stages
from sdg.report.card import CARD, below_heading, heading

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    parsed = command_parser(__doc__ or "").parse_args(arguments)
    try:
        if parsed.command == "inspect":
            inspect(parsed.path, settings(parsed.settings))
        elif parsed.command == "push":
            push_folder(parsed.folder, parsed.name, parsed.private)
        else:
            convert(parsed.path, parsed.out, settings(parsed.settings), parsed.half)
    except UserError as error:
        sys.exit(f"error: {error}")
    except (OSError, SafetensorError) as error:
        place = f"a file: {first_line(error)}"
        if isinstance(error, OSError) and error.filename:
            place = f"{error.filename}: {error.strerror}"
        sys.exit(
            f"error: cannot read or write {place}. Is there room, and is the folder yours to write?"
        )


def settings(words: list[str]) -> dict:
    """{setting: value} of words such as T=4000."""
    given = {}
    for word in words:
        name, equals, value = word.removeprefix("denoiser.").partition("=")
        known = (*ASKED, *PROMPTS)
        if not equals or name not in known:
            raise UserError(
                f"there is no setting '{word}'{near(name, known) or '.'} There are: "
                f"{', '.join(known)}."
            )
        if name in PROMPTS:
            given[name] = value
            continue
        try:
            given[name] = json.loads(value)
        except (ValueError, RecursionError):  # no JSON, a number of 5000 digits, deep nests
            given[name] = value
    return given


def inspect(path: str, asked: dict) -> None:
    """Prints what a file is, in a table."""
    try:
        place = located(path)
        if asked and header(place):
            raise UserError(f"{path} holds all settings; leave out {', '.join(asked)}.")
        rows = ours(place) or noisy_clip(place) or foreign(open_denoiser(place, asked))
    except MissingSettings as error:
        rows = [("file", error.kind, "it does not tell all")]
        for names, advice in error.missing.items():
            rows.append((" or ".join(names), "?", advice or "give it, as in the training flags"))
    width = max(len(name) for name, _, _ in rows)
    for name, value, source in rows:
        print(f"{name:<{width}}  {value}" + (f"   [{source}]" if source else ""))


def ours(place: Path) -> list[tuple[str, object, str]] | None:
    """Rows about a file or folder of this project, of whatever kind; None for another one."""
    own = header(place)
    if own is None:
        return None
    sizes = tensor_shapes(safetensors_of(place, own)).values()
    return [
        ("folder" if place.is_dir() else "file", f"this project's, a {own['kind']}", ""),
        ("parameters", f"{count(sizes):,}", ""),
        *((name, plain(value), "") for name, value in own["config"].items()),
    ]


def noisy_clip(path: Path) -> list[tuple[str, object, str]] | None:
    """Rows about an encoder of somebody else's noisy CLIP; None for another file."""
    part = foreign_part(path)
    if part is None:
        return None
    encoder = from_pretrained(path)
    rows: list[tuple[str, object, str]] = [
        ("file", part.words, ""),
        ("parameters", f"{sum(value.numel() for value in encoder.parameters()):,}", ""),
    ]
    if not isinstance(encoder, NoisyEncoder):
        assert isinstance(encoder, GlideTextEncoder)  # the only other part
        return [*rows, ("tower", plain(encoder.config), "the file")]
    vision = encoder.config["clip"]["model"]["vision_cfg"]
    tower = "a transformer" if vision["patch_size"] else "a ResNet"
    return [
        *rows,
        (
            "tower",
            f"{tower} of {vision['layers']} blocks, {vision['width']} channels wide",
            "the file",
        ),
        ("resolution", encoder.resolution, "its positions"),
        (
            "schedule",
            plain(encoder.config["schedule"]),
            "GLIDE's" if encoder.notice else "guided-diffusion's",
        ),
        ("stages", ", ".join(stages(encoder.tower)), ""),
    ]


def foreign(opened: DenoiserFile) -> list[tuple[str, object, str]]:
    """Rows about another denoiser, and how it would be written."""
    sizes = [value.shape for value in opened.tensors.values()]
    reason = why_not_exportable(denoiser_from(opened))
    return [
        ("file", opened.kind, ""),
        ("parameters", f"{count(sizes):,}", ""),
        *((name, value, source) for name, (value, source) in opened.sources.items()),
        ("as a diffusers folder", f"no: {reason}" if reason else "exact", ""),
    ]


def count(shapes) -> int:
    return sum(map(math.prod, shapes))


def plain(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def convert(path: str, out: str, asked: dict, half: bool) -> None:
    """Writes a part as `out` says.

    A denoiser becomes a .safetensors of this project or a folder that diffusers opens; any other
    part the former or a folder of this project.

    Raises:
        UserError: `out` is there already, or has another file's ending; or diffusers would not draw
            what this denoiser draws.
    """
    if Path(out).exists() and not (Path(out).is_dir() and not any(Path(out).iterdir())):
        raise UserError(f"{out} is there already; give another name, or remove it.")
    if Path(out).suffix in (".pt", ".pth", ".bin", ".ckpt"):
        raise UserError(f"{out}: convert writes FILE.safetensors, or a folder; never a pickle.")
    place = located(path)
    kind = kind_of(place)
    model: Denoiser | Part
    if kind == "denoiser":
        opened = open_denoiser(place, asked)
        for name, (value, source) in opened.sources.items():
            print(f"{name} = {value}   [{source}]")
        model = denoiser_from(opened)
    else:
        model = from_pretrained(place)
    config: Any = model.config  # what is read from a file has one
    card = place / CARD if place.is_dir() else place.with_suffix(".md")
    if out.endswith(".safetensors"):
        written = save(out, kind, model, config, half)
        if card.is_file():
            written.with_suffix(".md").write_text(
                card.read_text(encoding="utf-8"), encoding="utf-8"
            )
        print(f"results: {written}")
        return
    if isinstance(model, Denoiser) and (reason := why_not_exportable(model)):
        raise UserError(
            f"this denoiser cannot be a diffusers folder: {reason}. Convert it to a .safetensors "
            "file of this project instead."
        )
    folder = save_folder(out, kind, model, half)
    (folder / CARD).write_text(
        heading(folder, kind, config)
        + (below_heading(card.read_text(encoding="utf-8")) if card.is_file() else ""),
        encoding="utf-8",
    )
    print(f"results: {folder}")


def push_folder(folder: str, name: str, private: bool) -> None:
    """Pushes a folder to the hub.

    Raises:
        UserError: it holds no part or pipeline, or no safetensors, or could not be uploaded.
    """
    place = on_this_machine(folder) or Path(folder)
    whole = any((place / index).is_file() for index in (INDEX, "model_index.json"))
    if not place.is_dir() or header(place) is None and not whole:
        raise UserError(
            f"{folder} is no folder of a trained part or of a pipeline; train.py leaves one, "
            "Pipeline.save_pretrained another, and `convert FILE FOLDER` makes one of a file."
        )
    if not any(place.rglob("*.safetensors")):
        raise UserError(
            f"{folder} has no safetensors, and pickles are not pushed; `sdg-checkpoints convert "
            f"{folder} OUT` writes a folder that has."
        )
    print(f"results: {push(place, name, private)}")


if __name__ == "__main__":
    main()
