"""Checkpoints that are there in full or not at all, and the newest of them."""

import math
import re
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from sdg.errors import UserError
from sdg.io.files import part_of
from sdg.io.tensors import load_tensors

__all__ = ["WholeCheckpoints", "checkpoints_in", "is_whole", "remove_superseded"]


STEP = re.compile(r"step=(\d+)\.ckpt$")


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, and then renames it.

    Lightning's own goes through TMPDIR: where that is full or on another device, what is left at
    the checkpoint's place may be a part of one.
    """

    def save_checkpoint(self, checkpoint: dict, path: Any, storage_options: Any = None) -> None:
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with part_of(path) as part, open(part, "wb") as file:
            torch.save(checkpoint, file)


def checkpoints_in(folder: str | Path | None) -> list[Path]:
    """The checkpoints of a folder, that of most steps first; `last.ckpt` before others of its step.

    Not by their times: a clock may be set back. One that does not tell its step comes first.
    """
    if folder is None:
        return []
    files = Path(folder).glob("*.ckpt")
    return sorted(files, key=lambda file: (step_of(file), file.stem == "last"), reverse=True)


def step_of(file: Path) -> float:
    """How many steps a checkpoint has taken; infinity for one that cannot be read."""
    try:
        return int(load_tensors(file)["global_step"])
    except (UserError, RuntimeError, KeyError, TypeError, ValueError):
        return math.inf


def is_whole(file: str | Path) -> bool:
    """Whether a file is a checkpoint, none of whose bytes has changed since it was written."""
    try:
        if "global_step" not in load_tensors(file):
            return False
        with zipfile.ZipFile(file) as parts:  # with a CRC-32 of each
            return parts.testzip() is None
    except (UserError, OSError, RuntimeError, TypeError, zipfile.BadZipFile):
        return False


def remove_superseded(trainer: pl.Trainer) -> None:
    """Removes a finished run's `step=N.ckpt`, all but that of the last step.

    `ModelCheckpoint` with save_top_k=1 never removes the checkpoint that a run was resumed from,
    nor the one that a killed run was about to remove. Of a callback that keeps all
    (save_top_k=-1), or the best by a metric, every checkpoint stays.
    """
    for callback in trainer.checkpoint_callbacks:
        if not isinstance(callback, ModelCheckpoint) or callback.filename != "{step}":
            continue
        if callback.save_top_k != 1 or callback.monitor is not None or callback.dirpath is None:
            continue
        files = {
            int(named[1]): file
            for file in Path(callback.dirpath).glob("*.ckpt")
            if (named := STEP.match(file.name))
        }
        for step in sorted(files)[:-1]:
            with suppress(OSError):
                trainer.strategy.remove_checkpoint(files[step])
