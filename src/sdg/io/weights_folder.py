"""What a trained part leaves: a folder with safetensors and a config.

The denoiser's is one that diffusers opens too, where that is exact; the autoencoder's always is.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError
from sdg.io.diffusers_export import save_pipeline, why_not_exportable
from sdg.io.shipped import EARLIER
from sdg.io.weights import CONFIG, KEY, MODEL, UNET, VAE, save, stored

__all__ = ["save_folder"]


def save_folder(folder: str | Path, kind: str, model: nn.Module, half: bool = False) -> Path:
    """Writes a part as a folder, which `from_pretrained` reads.

    It holds `config.json`, and `model.safetensors` or a denoiser's `model_index.json`, `unet/` and
    `scheduler/`. An autoencoder's is what diffusers writes of one.

    Arguments:
        kind: "denoiser", "clip", …
        half: as of `save`.

    An earlier export there is replaced when this one is whole. A process that is killed while it
    replaces it leaves the earlier one in `.old`, which is then read in place of the folder.

    Raises:
        UserError: the model has no config, or weights that are no finite numbers.
    """
    config: Any = model.config  # of every model that can be trained
    if config is None:
        raise UserError(
            f"this {kind} was put together by hand and has no config that rebuilds it; "
            "sdg.models.build.build_denoiser makes one that has."
        )
    folder = Path(folder)
    part = folder / ".part"
    shutil.rmtree(part, ignore_errors=True)  # of a killed process
    file = MODEL
    try:
        if kind == "autoencoder":
            save_autoencoder(model, part, half)
            swap(part, folder)
            return folder
        if isinstance(model, Denoiser) and why_not_exportable(model) is None:
            file = UNET
            save_pipeline(model, part, half)
        else:
            save(part / MODEL, kind, model, config, half)
        content = {KEY: {"kind": kind, "config": config, "file": file}}
        (part / CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        swap(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def save_autoencoder(model: Any, folder: Path, half: bool) -> None:
    """Writes the network as its `from_pretrained` reads it; what is ours is in the metadata.

    Arguments:
        model: an `Autoencoder`.
        half: as of `save`.
    """
    tensors = stored(model.network, half)  # says what is no number, before anything is written
    model.network.save_config(folder)
    content = {"kind": "autoencoder", "config": model.config, "file": VAE}
    # One entry: safetensors writes several in any order, and two exports would differ.
    save_file(tensors, folder / VAE, {KEY: json.dumps(content)})


def swap(part: Path, folder: Path) -> None:
    """Puts the files of an export in the places of an earlier one's.

    Meanwhile `.old` holds the earlier export, whole, and `on_this_machine` reads that. It appears
    in one move and goes in one move, so a killed process leaves one export or the other.

    Arguments:
        part: a folder within `folder`.
    """
    old, aside = folder / EARLIER, folder / ".aside"
    shutil.rmtree(aside, ignore_errors=True)  # of a killed process
    if (folder / CONFIG).is_file() and not (old / CONFIG).is_file():
        hidden = shutil.ignore_patterns(".*")
        shutil.copytree(folder, aside, symlinks=True, ignore=hidden, copy_function=link)
        os.replace(aside, old)
    for name in ("unet", "scheduler"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("model_index.json", MODEL, VAE):
        (folder / name).unlink(missing_ok=True)
    for file in sorted(part.iterdir(), key=lambda each: each.name == CONFIG):  # it names the others
        os.replace(file, folder / file.name)
    if old.is_dir():
        os.replace(old, aside)
        shutil.rmtree(aside)


def link(source: str, place: str) -> None:
    """A second name for a file, or a copy where the file system has no such names."""
    try:
        os.link(source, place)
    except OSError:
        shutil.copy2(source, place)
