"""`python -m sdg.checkpoints inspect FILE` says what a file is; `convert FILE OUT` writes it as this project's safetensors or as a diffusers folder."""

import argparse
import json
import sys
from pathlib import Path

import safetensors

from sdg.checkpoints.models import denoiser_of, is_noisy_clip, load_clip_noisy
from sdg.checkpoints.pipeline import save_pipeline, unlike
from sdg.checkpoints.pretrained import ASKED, Found, Unsettled, open_denoiser
from sdg.checkpoints.weights import header, save
from sdg.encoders.stages import stages
from sdg.errors import UserError, near

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m sdg.checkpoints", description=__doc__.replace("`", ""), epilog=(
        f"SETTING: {', '.join(f'{name}=…' for name in ASKED)}: what an ADM file cannot tell, where no published family has its layout or you know better."))
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("inspect", "say what a file is"), ("convert", "write it in another format")):
        command = commands.add_parser(name, help=words)
        command.add_argument("path", help="a .pt, a .safetensors, a diffusers folder or owner/name on the hub")
        if name == "convert":
            command.add_argument("out", help="FILE.safetensors, or a folder for diffusers")
        command.add_argument("settings", nargs="*", metavar="SETTING")
    said = parser.parse_args(arguments)
    try:
        if said.command == "inspect":
            inspect(said.path, settings(said.settings))
        else:
            convert(said.path, said.out, settings(said.settings))
    except UserError as error:
        sys.exit(f"error: {error}")


def settings(words: list[str]) -> dict:
    """{setting: value} of words such as T=4000."""
    found = {}
    for word in words:
        name, equals, value = word.removeprefix("denoiser.").partition("=")
        if not equals or name not in ASKED:
            raise UserError(f"there is no setting '{word}'{near(name, ASKED) or '.'} There are: {', '.join(ASKED)}.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def inspect(path: str, asked: dict) -> None:
    """Prints what a file is, in a table."""
    try:
        rows = ours(Path(path)) or noisy_clip(path) or foreign(open_denoiser(path, asked))
    except Unsettled as found:
        rows = [("file", found.kind, "no published family"), *((name, "?", "say it, as in the training flags") for name in found.missing)]
    width = max(len(name) for name, _, _ in rows)
    for name, value, source in rows:
        print(f"{name:<{width}}  {value}" + (f"   [{source}]" if source else ""))


def ours(file: Path) -> list[tuple[str, object, str]] | None:
    """Rows about a file of this project, of whatever kind; None for another one."""
    if not file.is_file() or file.suffix != ".safetensors":
        return None
    if (said := header(file)) is None:
        return None
    with safetensors.safe_open(str(file), "pt") as handle:
        sizes = [handle.get_slice(name).get_shape() for name in handle.keys()]
    return [("file", f"this project's, a {said['kind']}", ""), ("parameters", f"{count(sizes):,}", ""), *((name, plain(value), "") for name, value in said["config"].items())]


def noisy_clip(path: str) -> list[tuple[str, object, str]] | None:
    """Rows about a noisy CLIP of the SDG authors' code; None for another file."""
    if not is_noisy_clip(path):
        return None
    encoder = load_clip_noisy(path)
    vision = encoder.config["clip"]["model"]["vision_cfg"]
    return [("file", "a noisy CLIP of the SDG authors' code", ""), ("parameters", f"{sum(value.numel() for value in encoder.parameters()):,}", ""),
            ("tower", f"a ResNet of {vision['layers']} blocks, {vision['width']} channels wide", "the file"), ("resolution", encoder.resolution, "its positions"),
            ("schedule", plain(encoder.config["schedule"]), "guided-diffusion's"), ("stages", ", ".join(stages(encoder.tower)), "")]


def foreign(found: Found) -> list[tuple[str, object, str]]:
    """Rows about another denoiser, and how it would be written."""
    sizes = [value.shape for value in found.tensors.values()]
    reason = unlike(denoiser_of(found))
    return [("file", found.kind, ""), ("parameters", f"{count(sizes):,}", ""), *((name, value, source) for name, (value, source) in found.told.items()),
            ("as a diffusers folder", f"no: {reason}" if reason else "exact", "")]


def count(shapes) -> int:
    from math import prod

    return sum(prod(shape) for shape in shapes)


def plain(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def convert(path: str, out: str, asked: dict) -> None:
    """Writes a denoiser as `out` says, a .safetensors of this project or a diffusers folder; a noisy CLIP as a .safetensors.

    Raises:
        UserError: `out` is there already, or has another file's ending.
    """
    if Path(out).exists() and not (Path(out).is_dir() and not any(Path(out).iterdir())):
        raise UserError(f"{out} is there already; give another name, or remove it.")
    if Path(out).suffix in (".pt", ".pth", ".bin", ".ckpt"):
        raise UserError(f"{out}: convert writes FILE.safetensors, or a folder for diffusers; never a pickle.")
    if is_noisy_clip(path):
        encoder = load_clip_noisy(path)
        if not out.endswith(".safetensors"):
            raise UserError(f"a noise-aware encoder is written as FILE.safetensors, not {out}.")
        print(f"results: {save(out, 'clip_noisy', encoder, encoder.config)}")
        return
    found = open_denoiser(path, asked)
    for name, (value, source) in found.told.items():
        print(f"{name} = {value}   [{source}]")
    denoiser = denoiser_of(found)
    if out.endswith(".safetensors"):
        print(f"results: {save(out, 'denoiser', denoiser, denoiser.config)}")
    else:
        print(f"results: {save_pipeline(denoiser, out)}")


if __name__ == "__main__":
    main()
