"""Features of real images: computed once, then kept."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from sdg.errors import UserError, first_line
from sdg.evaluation.networks import PART
from sdg.io.files import part_of, remove_dead_parts
from sdg.io.metadata import metadata_of
from sdg.io.tensors import load_tensors

__all__ = ["real_features"]

KEY = "sha256"  # of the tensors, in the file's header


def real_features(
    images,
    count: int,
    extract: Callable[[Tensor], dict[str, Tensor]],
    cache: str | Path | None,
    **key,
) -> dict[str, Tensor]:
    """The features of the first images of a data set, row by row, on the CPU.

    What lies in the cache is taken if it is whole, as its own digest says; else it is computed
    anew, and a line says so.

    Arguments:
        images: a data set that gives {`image`: (B, 3, H, W) in [-1, 1]} for a list of indices.
        count: how many images, or all that there are.
        extract: from images to named tensors with a row for each.
        cache: folder of what was computed before; None keeps nothing.
        key: what the result depends on besides the number of images: data, resolution, the network.
            Another value is another file.

    Raises:
        UserError: the network gives features that are no numbers, or the cache cannot be written.
    """
    count = min(count, len(images))
    text = json.dumps(key | {"count": count}, sort_keys=True, default=str)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:20]
    file = Path(cache) / f"{fingerprint}.safetensors" if cache else None
    if file is not None and file.is_file():
        kept = whole_features(file, count)
        if kept is not None:
            return kept
        print(f"{file} is damaged, or of an earlier version; the real images are read anew.")
    parts = []
    for start in range(0, count, PART):
        indices = list(range(start, min(start + PART, count)))
        parts.append(extract(images.__getitems__(indices)["image"]))
    features = {}
    for name in parts[0]:
        features[name] = torch.cat([part[name] for part in parts]).cpu().contiguous()
        if features[name].is_floating_point() and not features[name].isfinite().all():
            raise UserError(
                f"a network that measures gives {name} of real images that are no finite numbers; "
                "its weights are damaged."
            )
    if file is not None:
        keep(features, file)
    return features


def keep(features: dict[str, Tensor], file: Path) -> None:
    """Writes features with their digest."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_dead_parts(file)
        with part_of(file) as part:
            save_file(features, part, {KEY: digest_of(features)})
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot write the features of real images to {file.parent}: {first_line(error)}. Make "
            "room, or set eval.cache=FOLDER, or eval.cache=null to keep nothing."
        ) from error


def whole_features(file: Path, count: int) -> dict[str, Tensor] | None:
    """The features that a file holds; None if they are not as they were written.

    Arguments:
        count: how many rows each has.
    """
    try:
        features: dict[str, Tensor] = load_tensors(file)
        digest = metadata_of(file).get(KEY)
    except (UserError, OSError, SafetensorError):
        return None
    if any(len(rows) != count for rows in features.values()):
        return None
    return features if digest == digest_of(features) else None


def digest_of(features: dict[str, Tensor]) -> str:
    """The SHA-256 of named tensors."""
    digest = hashlib.sha256()
    for name, rows in sorted(features.items()):
        digest.update(f"{name} {rows.dtype} {tuple(rows.shape)}".encode())
        digest.update(rows.numpy().tobytes())
    return digest.hexdigest()
