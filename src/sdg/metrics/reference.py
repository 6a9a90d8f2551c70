"""Features of real images: computed once, then kept."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sdg.io.tensors import load_tensors

__all__ = ["real_features"]

PART = 250  # images that go through a network at once


def real_features(
    images,
    count: int,
    extract: Callable[[Tensor], dict[str, Tensor]],
    cache: str | Path | None,
    **key,
) -> dict[str, Tensor]:
    """The features of the first images of a data set, row by row, on the CPU.

    Arguments:
        images: a data set that gives {`image`: (B, 3, H, W) in [-1, 1]} for a list of indices.
        count: how many images, or all that there are.
        extract: from images to named tensors with a row for each.
        cache: folder of what was computed before; None keeps nothing.
        key: what the result depends on besides the number of images: data, resolution, the network.
            Another value is another file.
    """
    count = min(count, len(images))
    text = json.dumps(key | {"count": count}, sort_keys=True, default=str)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:20]
    file = Path(cache) / f"{fingerprint}.safetensors" if cache else None
    if file is not None and file.is_file():
        kept: dict[str, Tensor] = load_tensors(file)
        return kept
    parts = []
    for start in range(0, count, PART):
        indices = list(range(start, min(start + PART, count)))
        parts.append(extract(images.__getitems__(indices)["image"]))
    features = {}
    for name in parts[0]:
        features[name] = torch.cat([part[name] for part in parts]).cpu().contiguous()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        save_file(features, part)
        os.replace(part, file)
    return features
