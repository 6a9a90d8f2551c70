"""Noisy CLIPs of the SDG authors' own code.

They become a `NoiseAwareEncoder` around open_clip's ModifiedResNet.
"""

import math
import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from sdg.errors import UserError

__all__ = ["from_sdg_code", "is_sdg_code"]

STEM = {"0": "conv1", "1": "bn1.norm", "3": "conv2", "4": "bn2.norm", "6": "conv3", "7": "bn3.norm"}
LAYERS = {
    "visual_frozen.10": "layer1",
    "visual_frozen.11": "layer2",
    "visual_frozen.12": "layer3",
    "layer4": "layer4",
}
TIME = {"time_embed.0": "time.1", "time_embed.2": "time.3", "emb_layers.1": "time.5"}
SCHEDULE = {"kind": "linear", "T": 1000}  # guided-diffusion's, with which they were fine-tuned
LOGIT_SCALE = 100.0  # of the RN50x16 that they began with
HEAD_WIDTH = 64
TEXT = {
    "context_length": 77,
    "vocab_size": 49408,
    "heads": 12,
    "layers": 12,
}  # and as wide as the embedding: RN50x16's


def is_sdg_code(names: Collection[str]) -> bool:
    """Whether tensors of these names are a noisy CLIP of theirs."""
    return {
        "visual_frozen.0.weight",
        "layer4.0.conv1.weight",
        "attn_pool.positional_embedding",
        "emb_layers.1.weight",
    } <= set(names)


def from_sdg_code(tensors: Mapping[str, Tensor], path: str) -> tuple[dict, dict[str, Tensor]]:
    """The config and the tensors of a `NoiseAwareEncoder`.

    Its norms are modulated in the order stem, then bn1, bn2, bn3 of every block, a scale and a
    shift for each, which is ours too; those on shortcuts are not.

    Arguments:
        tensors: their state dict; its image size is that of the attention pool's positions.
        path: of the file, for messages.

    Raises:
        UserError: a tensor is missing or left over, or the positions are no square.
    """
    needed = (
        "visual_frozen.6.weight",
        "attn_pool.c_proj.weight",
        "time_embed.0.weight",
        *(f"{theirs}.0.conv1.weight" for theirs in LAYERS),
    )
    if missing := [name for name in needed if name not in tensors]:
        raise UserError(f"{path} has no tensor {missing[0]}; its file is not whole.")
    width = tensors["visual_frozen.6.weight"].shape[0]
    embedding = tensors["attn_pool.c_proj.weight"].shape[0]
    places = len(tensors["attn_pool.positional_embedding"]) - 1
    if math.isqrt(places) ** 2 != places:
        raise UserError(f"{path} has {places} positions, which is no square.")
    vision = {
        "image_size": 32 * math.isqrt(places),
        "layers": [block_count(tensors, layer) for layer in LAYERS],
        "width": width,
        "head_width": HEAD_WIDTH,
        "patch_size": None,
    }
    model = {
        "embed_dim": embedding,
        "vision_cfg": vision,
        "text_cfg": TEXT | {"width": embedding},
        "quick_gelu": True,
    }
    ours = {renamed(name, path): value for name, value in tensors.items()}
    config = {
        "clip": {"model": model, "words": []},
        "schedule": dict(SCHEDULE),
        "width": tensors["time_embed.0.weight"].shape[1],
        "hidden": tensors["time_embed.0.weight"].shape[0],
    }
    return config, ours | {"logit_scale": torch.tensor(LOGIT_SCALE)}


def block_count(names: Collection[str], layer: str) -> int:
    """How many blocks a layer of theirs has."""
    inside = [name.removeprefix(f"{layer}.") for name in names if name.startswith(f"{layer}.")]
    return 1 + max(int(name.split(".")[0]) for name in inside)


def renamed(name: str, path: str) -> str:
    """Our name of one of their tensors."""
    place, _, part = name.rpartition(".")
    if place in TIME:
        return f"{TIME[place]}.{part}"
    if (stem := re.fullmatch(r"visual_frozen\.(\d)", place)) and stem[1] in STEM:
        return f"tower.{STEM[stem[1]]}.{part}"
    if place == "attn_pool" or place.startswith("attn_pool."):
        return f"tower.{name.replace('attn_pool', 'attnpool')}"
    for theirs, ours in LAYERS.items():
        if place.startswith(f"{theirs}."):
            inside = re.sub(r"\.(bn[123])$", r".\1.norm", place.removeprefix(theirs))
            return f"tower.{ours}{inside}.{part}"
    raise UserError(f"{path} holds a tensor {name}, which the SDG authors' noisy CLIPs have not.")
