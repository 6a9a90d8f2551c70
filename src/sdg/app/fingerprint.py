"""A digest of everything that a run's samples follow from."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from sdg.app.denoiser_choice import denoiser_path
from sdg.app.finished import WEIGHTS, place_of, texts
from sdg.app.imported import imported
from sdg.app.naming import sample_settings
from sdg.app.precision import chosen_precision
from sdg.data.requests import Requests
from sdg.evaluation.store import CODE
from sdg.io.digest import content
from sdg.similarity import Term

__all__ = ["fingerprint"]


def fingerprint(
    config: DictConfig,
    requests: Requests,
    pictures: Mapping[str, Tensor],
    batch_size: int,
    terms: Mapping[str, Term],
) -> str:
    """A digest of everything that a run's samples follow from.

    That is settings and the precision that they mean on this device, conditions and seeds, what the
    terms say, weights, pictures, code and files of the user's own, and what shares a batch.

    Arguments:
        config: of the run.
        pictures: {name: image} of references and of what samples start from.
        batch_size: how many requests really share a batch.
        terms: {similarity: term}; none where nothing is guided.
    """
    encoder: tuple[str, ...] = ()
    if terms and config.encoder.get("_target_", "").startswith("sdg."):
        encoder = ("weights", "clip" if config.encoder.get("name") is None else "pretrained")
    weights = [
        denoiser_path(config),
        config.denoiser.get("autoguidance"),
        config.denoiser.get("autoencoder"),
        *(config.encoder.get(key) for key in encoder),
    ]
    settings = sample_settings(config)
    # `auto` is another one on another device, and a run is drawn in one.
    settings["trainer"]["precision"] = str(chosen_precision(config.trainer))
    inputs: dict[str, Any] = {
        "settings": settings,
        "batch_size": batch_size,
        "conditions": [dict(condition) for condition in requests.conditions],
        "each": requests.each,
        "seed": requests.seed,
        "weights": [content(file) for file in weights if file],
        "pictures": {
            name: hashlib.sha256(image.numpy().tobytes()).hexdigest()
            for name, image in pictures.items()
        },
    }
    if said := {kind: term.fingerprint() for kind, term in terms.items() if term.fingerprint()}:
        inputs["terms"] = said
    # What data hold shows in conditions and pictures.
    parts = {key: part for key, part in inputs["settings"].items() if key != "data"}
    if files := own_files(parts):
        inputs["files"] = files
    code = own_code(inputs["settings"])
    return digest(inputs) + (CODE + digest(code) if code else "")


def digest(inputs: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def own_code(settings: Mapping | list) -> dict[str, str]:
    """{target: a digest of its source file} of every `_target_` that is not the framework's."""
    digests: dict[str, str] = {}
    for part in settings.values() if isinstance(settings, Mapping) else settings:
        if isinstance(part, (Mapping, list)):
            digests |= own_code(part)
    target = settings.get("_target_") if isinstance(settings, Mapping) else None
    if target and not target.startswith("sdg."):
        source = source_of(imported("_target_", target))
        if source is not None:
            digests[target] = hashlib.sha256(source).hexdigest()
    return digests


def own_files(settings: Mapping | list) -> dict[str, str]:
    """{file: its digest} of the files, and folders of weights, named beside such a `_target_`."""
    digests: dict[str, str] = {}
    if isinstance(settings, Mapping) and not settings.get("_target_", "sdg.").startswith("sdg."):
        for key, text in texts(settings):
            place = place_of(text)
            if place is not None and (place.is_file() or key in WEIGHTS):
                digests[text] = content(text)
        return digests
    for part in settings.values() if isinstance(settings, Mapping) else settings:
        if isinstance(part, (Mapping, list)):
            digests |= own_files(part)
    return digests


def source_of(target: Any) -> bytes | None:
    """The source file of a class or function; None for what is not written in Python."""
    try:
        file = inspect.getsourcefile(target)
        return None if file is None else Path(file).read_bytes()
    except (TypeError, OSError):
        return None
