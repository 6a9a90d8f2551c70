"""What the figures of a run follow from beside its samples."""

import json
from typing import Any

from omegaconf import DictConfig

from sdg.app.fingerprint import own_code, own_files
from sdg.app.plain import plain
from sdg.data.datamodule import ImageData
from sdg.io.digest import content

__all__ = ["measured_options"]

WEIGHTS = ("judge", "clip", "inception")
NO_FIGURE = ("measures", "cache")  # where it caches changes none


def measured_options(config: DictConfig, data: ImageData) -> dict[str, Any]:
    """`eval`, and digests of the weights, the held-out images and the code that it reads.

    It is kept beside the figures, so that others are measured anew.

    Arguments:
        data: of the run.
    """
    options = {key: value for key, value in plain(config.eval).items() if key not in NO_FIGURE}
    weights = {name: content(options[name]) for name in WEIGHTS if options.get(name)}
    metrics = options.get("metrics") or {}
    read = {
        "weights": weights,
        "held_out": json.dumps(data.identity(), sort_keys=True, default=str),
        "code": own_code(metrics),
        "files": own_files(metrics),
    }
    return options | {"read": read}
