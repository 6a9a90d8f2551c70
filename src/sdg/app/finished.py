"""The figures of a finished run once more, without importing what draws and measures."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sdg.app.claim import claim, claimed
from sdg.app.naming import chosen_similarities, name_of, sample_settings, unguided_config
from sdg.app.plain import plain
from sdg.errors import UserError
from sdg.io.files import write_whole
from sdg.io.shipped import PACKAGE, on_this_machine
from sdg.report.words import report

__all__ = ["forget_finished", "has_own_code", "note_finished", "show_finished"]

NOTE = "rows/finished.json"
OUTPUTS = ("images/*", "rows/*", "*.csv", "*.png", "metrics.json", "report.html")
SHOWN = ("metrics.json", "grid.png", "report.html")
# What a run may consist of whose samples follow from settings, code and single files.
DATA = ("sdg.data.portraits_data.PortraitsData", "sdg.data.shapes_data.ShapesData")
SIMILARITIES = ("sdg.similarity.Text", "sdg.similarity.Class")
OURS = ("sdg.", "pytorch_lightning.", "torch.")  # whose code needs no transformers
WEIGHTS = ("weights", "clip", "judge", "path", "pretrained", "autoguidance", "autoencoder")


def show_finished(config: DictConfig) -> bool:
    """Prints what a finished run has left, if its folder is noted as one of just this command.

    Returns:
        whether it did; otherwise the run must be looked at in full.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    note = folder / NOTE
    if config.rerun or not note.is_file() or "LOCAL_RANK" in os.environ:
        return False
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        metrics = json.loads((folder / SHOWN[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    there = all((folder / name).is_file() for name in SHOWN)
    if not there or noted != finished_state(config, folder) or (file := claim(folder)) is None:
        return False
    with claimed(folder, file):
        count = sum(
            name.startswith("rows/") and name.endswith(".jsonl") for name in noted["outputs"]
        )
        print(
            f"{count} of {count} batches are drawn already in {folder}; rerun=true draws them anew."
        )
        report(metrics)
        print(f"picture: {folder / 'grid.png'}")
        print(f"page: {folder / 'report.html'}")
    print(f"results: {folder}", flush=True)
    return True


def note_finished(config: DictConfig, folder: Path) -> None:
    """Notes that a folder holds all that a command asks for."""
    if noted := finished_state(config, folder):
        write_whole(folder / NOTE, json.dumps(noted))


def forget_finished(folder: Path) -> None:
    """Takes the note away, before anything in the folder changes."""
    (folder / NOTE).unlink(missing_ok=True)


def finished_state(config: DictConfig, folder: Path) -> dict | None:
    """What a finished run's samples and figures follow from; None where that is not seen so fast.

    That is where data, references or weights are a folder's or the hub's, or code is the user's.
    What `trainer.precision=auto` means takes torch to say, and is not looked at: on another device
    the same command shows the run that is there.
    """
    settings, measured = sample_settings(config), plain(config.eval)
    parts = [settings, {**measured, "cache": None}]
    if (
        config.unguided
        or config.data.get("_target_") not in DATA
        or any(target not in SIMILARITIES for target in similarity_targets(config))
        or not all(value.startswith("sdg.") for key, value in texts(parts) if key == "_target_")
    ):
        return None
    # The folder of a cache is one of its own making.
    files = {value: place_of(value) for key, value in texts(parts) if key != "cache"}
    missing = any(files[value] is None for key, value in texts(parts) if key in WEIGHTS)
    if missing or any(place and place.is_dir() for place in files.values()):
        return None
    unguided = name_of(unguided_config(config), HydraConfig.get().runtime.choices["guidance"])
    inputs = {
        "settings": settings,
        "eval": measured,
        "trainer": plain(config.trainer),
        "logger": str(config.logger),
        "trajectory": config.trajectory,
        "files": {value: state(place) for value, place in files.items() if place},
        "code": [f"{file} {state(file)}" for file in sorted(PACKAGE.rglob("*.py"))],
        "unguided": (folder.parent / unguided / SHOWN[0]).is_file(),
    }
    text = json.dumps(inputs, sort_keys=True, default=str)
    outputs = {file: state(folder / file) for file in output_files(folder)}
    return {"inputs": hashlib.sha256(text.encode()).hexdigest(), "outputs": outputs}


def has_own_code(config: DictConfig) -> bool:
    """Whether a config names a class that is neither of this project nor of what it builds on."""
    return any(
        key == "_target_" and not value.startswith(OURS) for key, value in texts(plain(config))
    )


def output_files(folder: Path) -> list[str]:
    """What a run has drawn and measured, by name."""
    found = [file for pattern in OUTPUTS for file in folder.glob(pattern) if file.is_file()]
    return sorted({file.relative_to(folder).as_posix() for file in found} - {NOTE})


def similarity_targets(config: DictConfig) -> list[str]:
    return [config.similarity[kind]._target_ for kind in chosen_similarities(config)]


def texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(key, text) of every text in a plain value."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from texts(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part, key)
    elif isinstance(value, str):
        yield key, value


def place_of(text: str) -> Path | None:
    """The file or folder that a text names, if any."""
    try:
        return on_this_machine(text)
    except (OSError, UserError):  # too long for a name, or in a folder that may not be entered
        return None


def state(file: Path) -> str:
    """What changes with a file's content."""
    status = file.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
