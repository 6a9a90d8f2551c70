"""The autoencoder of a latent model, as diffusers saves it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdg.io.diffusers_network import network_file
from sdg.io.json_config import json_config

__all__ = [
    "AUTOENCODER_NETWORKS",
    "autoencoder_folder",
    "digest_of_latents",
    "is_autoencoder",
    "latents_digest",
]

AUTOENCODER_NETWORKS = ("AutoencoderKL", "AutoencoderTiny", "VQModel")
AUTOENCODERS = ("vae", "vqvae")  # the folders that diffusers' pipelines keep them in
ENCODER = ("encoder.", "quant_conv.")  # what latents follow from; decoders of the same ones differ


def autoencoder_folder(folder: Path) -> Path | None:
    """Where a pipeline's folder keeps the autoencoder; None where it has none."""
    for name in AUTOENCODERS:
        if (folder / name / "config.json").is_file():
            return folder / name
    return None


def is_autoencoder(folder: Path) -> bool:
    """Whether a folder holds an autoencoder alone, as diffusers writes it."""
    model = folder / "config.json"
    return model.is_file() and json_config(model).get("_class_name") in AUTOENCODER_NETWORKS


def latents_digest(folder: Path) -> str | None:
    """`digest_of_latents` of the autoencoder in a folder, as diffusers writes it."""
    config, tensors = network_file(folder, AUTOENCODER_NETWORKS)
    own = {name.removeprefix("network."): value for name, value in tensors.items()}
    return digest_of_latents(config["network"], config["options"], own)


def digest_of_latents(
    kind: str,
    options: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    affine: Sequence[Sequence[float]] | None = None,
) -> str | None:
    """A digest of what makes latents of an image: the encoder, their scale and their shift.

    Weights count in float16, so that a file of half precision has the same latents. It is None of
    an `AutoencoderTiny`, which imitates the latents of another.

    Arguments:
        kind, options: the class of the autoencoder in diffusers, and its arguments.
        tensors: of it.
        affine: (shift, scale) of each channel, in the place of those of its options.
    """
    if kind == "AutoencoderTiny":
        return None
    scaling: tuple[Any, ...]
    if affine is None:
        scaling = float(options["scaling_factor"]), float(options.get("shift_factor") or 0)
    else:
        scaling = tuple(tuple(map(float, numbers)) for numbers in affine)
    digest = hashlib.sha256(f"{kind} {scaling}".encode())
    for name in sorted(tensors):
        if name.startswith(ENCODER):
            half = tensors[name].detach().cpu().to(torch.float16).contiguous()
            digest.update(f"{name} {tuple(half.shape)}".encode())
            digest.update(half.numpy().tobytes())
    return digest.hexdigest()
