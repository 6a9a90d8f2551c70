"""A digest of everything that a run's samples follow from."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from omegaconf import DictConfig
from torch import Tensor

from sdg.app.denoiser import denoiser_path
from sdg.app.naming import sample_settings
from sdg.data.requests import Request
from sdg.io.digest import content

__all__ = ["fingerprint"]


def fingerprint(
    config: DictConfig, requests: Sequence[Request], pictures: Mapping[str, Tensor], batch_size: int
) -> str:
    """A digest of everything that a run's samples follow from.

    That is settings, conditions and seeds, weights, pictures, and what shares a batch.

    Arguments:
        config: of the run.
        pictures: {name: image} of references and of what samples start from.
        batch_size: how many requests really share a batch.
    """
    encoder = (
        ("weights", "clip" if config.encoder.get("name") is None else "pretrained")
        if config.guidance.gamma
        else ()
    )
    weights = [denoiser_path(config), *(config.encoder.get(key) for key in encoder)]
    told = {
        "settings": sample_settings(config),
        "batch_size": batch_size,
        "requests": [(request.seed, dict(request.conditions)) for request in requests],
        "weights": [content(file) for file in weights if file],
        "pictures": {
            name: hashlib.sha256(image.numpy().tobytes()).hexdigest()
            for name, image in pictures.items()
        },
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
