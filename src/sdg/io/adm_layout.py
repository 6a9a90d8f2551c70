"""The layout of an ADM U-Net, from the names and shapes of its tensors."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sdg.errors import UserError

__all__ = ["Layout", "layout_of"]

UPSAMPLER = re.compile(r"output_blocks\.(\d+)\.[12]\.(conv|in_layers\.0)\.weight$")


class Layout(NamedTuple):
    """What names and shapes of an ADM U-Net's tensors tell.

    Arguments:
        channels: of the sinusoid that embeds t.
        widths: channels of every level.
        blocks: residual blocks a level.
        attention: levels that have attention.
        scale_shift: whether t scales and shifts after the norm, or is added.
        resnet_resampling: whether residual blocks change the resolution, or convolutions.
        learned: whether Σ is learned.
        classes: how many, None for an unconditional model.
    """

    channels: int
    widths: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    scale_shift: bool
    resnet_resampling: bool
    learned: bool
    classes: int | None

    @property
    def levels(self) -> int:
        return len(self.widths)


def layout_of(tensors: Mapping[str, Tensor]) -> Layout:
    """The layout of a state dict.

    Raises:
        UserError: it is none of an ADM U-Net, or one of another structure.
    """

    def shape(name: str) -> torch.Size:
        if name not in tensors:
            raise UserError(
                f"these weights have no {name}, so they are no ADM (guided-diffusion, "
                "improved-diffusion) denoiser, nor one of DiT, SiT, JiT, EDM, EDM2 or v-diffusion."
            )
        return tensors[name].shape

    for needed in (
        "time_embed.0.weight",
        "input_blocks.0.0.weight",
        "input_blocks.1.0.emb_layers.1.weight",
        "output_blocks.0.0.in_layers.0.weight",
        "out.2.weight",
    ):
        shape(needed)
    inputs, outputs = block_count(tensors, "input"), block_count(tensors, "output")
    levels = 1 + upsampler_count(tensors)
    if inputs != outputs or outputs % levels or outputs == levels:
        raise UserError(
            f"these weights have {inputs} input blocks, {outputs} output blocks and {levels} "
            "levels, which no ADM U-Net has."
        )
    blocks = outputs // levels - 1
    firsts = [1 + level * (blocks + 1) for level in range(levels)]
    image, out = shape("input_blocks.0.0.weight")[1], shape("out.2.weight")[0]
    if image != 3 or out not in (3, 6):
        raise UserError(
            f"these weights take {image} channels and give {out}: a model of RGB images takes 3 "
            "and gives 3, or 6 with a learned variance. Upsamplers are not supported."
        )
    widths = tuple(shape(f"input_blocks.{first}.0.out_layers.3.weight")[0] for first in firsts)
    attention = []
    for level, first in enumerate(firsts):
        if f"input_blocks.{first}.1.qkv.weight" in tensors:
            attention.append(level)
    return Layout(
        channels=shape("time_embed.0.weight")[1],
        widths=widths,
        blocks=blocks,
        attention=tuple(attention),
        scale_shift=shape("input_blocks.1.0.emb_layers.1.weight")[0] == 2 * widths[0],
        resnet_resampling=levels > 1
        and f"input_blocks.{blocks + 1}.0.in_layers.0.weight" in tensors,
        learned=out == 6,
        classes=shape("label_emb.weight")[0] if "label_emb.weight" in tensors else None,
    )


def block_count(tensors: Mapping[str, Tensor], side: str) -> int:
    """The number of input or output blocks."""
    places = [int(name.split(".")[1]) for name in tensors if name.startswith(f"{side}_blocks.")]
    return 1 + max(places)


def upsampler_count(tensors: Mapping[str, Tensor]) -> int:
    """The number of levels that end with an upsampler behind their last block.

    An upsampler is a convolution of its own, or a second residual block.
    """
    matches = (UPSAMPLER.match(name) for name in tensors)
    return len({match[1] for match in matches if match})
