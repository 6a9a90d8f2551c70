"""What a trained part leaves: a folder with safetensors and a config.

The denoiser's is one that diffusers opens too, where that is exact.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError
from sdg.io.pipeline import save_pipeline, unlike
from sdg.io.weights import CONFIG, KEY, MODEL, UNET, save

__all__ = ["save_folder"]


def save_folder(folder: str | Path, kind: str, model: nn.Module, half: bool = False) -> Path:
    """Writes a part as a folder, which `from_pretrained` reads.

    It holds `config.json`, and `model.safetensors` or a denoiser's `model_index.json`, `unet/` and
    `scheduler/`.

    Arguments:
        kind: "denoiser", "clip", …
        half: as of `save`.

    What an earlier export has left there is replaced when this one is whole.

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
        if isinstance(model, Denoiser) and unlike(model) is None:
            file = UNET
            save_pipeline(model, part, half)
        else:
            save(part / MODEL, kind, model, config, half)
        content = {KEY: {"kind": kind, "config": config, "file": file}}
        (part / CONFIG).write_text(json.dumps(content, indent=2) + "\n")
        for former in ("model_index.json", MODEL):  # of an export in the other format
            (folder / former).unlink(missing_ok=True)
        for former in ("unet", "scheduler"):
            shutil.rmtree(folder / former, ignore_errors=True)
        for each in part.iterdir():
            os.replace(each, folder / each.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
