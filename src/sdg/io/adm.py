"""ADM state dicts, of guided-diffusion and improved-diffusion, become a diffusers UNet2DModel.

Names and shapes tell the layout. They cannot tell the number of attention heads, the order of the
rows of qkv, the noise schedule or the image size: a wrong guess loads without complaint and gives
wrong images. So these come from the published family that has the layout, or from the user.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sdg.errors import UserError

__all__ = ["FAMILIES", "Family", "Layout", "converted", "family_of", "layout_of", "network_of"]


class Layout(NamedTuple):
    """What names and shapes tell.

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


class Family(NamedTuple):
    """What a file of this family cannot tell, and what it is known by.

    Arguments:
        name: whose it is.
        channels, multipliers, blocks, attention, scale_shift, resnet_resampling, classes: the
            layout it is known by.
        resolution: of its images.
        schedule: and T, of its noise.
        head_width: channels of an attention head; None where `heads` says how many there are at
            every width.
        qkv: order of the rows of qkv: `heads_first`, (head, q k v, width), or `qkv_first`, (q k v,
            head, width).
        time_scale: what t is multiplied by before it is embedded.
    """

    name: str
    channels: int
    multipliers: tuple[float, ...]
    blocks: int
    attention: tuple[int, ...]
    scale_shift: bool
    resnet_resampling: bool
    classes: int | None
    resolution: int
    schedule: str
    T: int
    head_width: int | None = 64
    heads: int | None = None
    qkv: str = "heads_first"
    time_scale: float = 1.0

    def has(self, layout: Layout) -> bool:
        widths = tuple(int(self.channels * m) for m in self.multipliers)
        return (
            self.channels,
            widths,
            self.blocks,
            self.attention,
            self.scale_shift,
            self.resnet_resampling,
            self.classes,
        ) == (
            layout.channels,
            layout.widths,
            layout.blocks,
            layout.attention,
            layout.scale_shift,
            layout.resnet_resampling,
            layout.classes,
        )


# From the flags that were published with the files.
FAMILIES = (
    Family(
        "guided-diffusion ImageNet 64",
        192,
        (1, 2, 3, 4),
        3,
        (1, 2, 3),
        True,
        True,
        1000,
        64,
        "cosine",
        1000,
        qkv="qkv_first",
    ),
    Family(
        "guided-diffusion ImageNet 128",
        256,
        (1, 1, 2, 3, 4),
        2,
        (2, 3, 4),
        True,
        True,
        1000,
        128,
        "linear",
        1000,
        None,
        4,
    ),
    Family(
        "guided-diffusion ImageNet 256",
        256,
        (1, 1, 2, 2, 4, 4),
        2,
        (3, 4, 5),
        True,
        True,
        1000,
        256,
        "linear",
        1000,
    ),
    Family(
        "guided-diffusion ImageNet 256 unconditional, or LSUN 256",
        256,
        (1, 1, 2, 2, 4, 4),
        2,
        (3, 4, 5),
        True,
        True,
        None,
        256,
        "linear",
        1000,
    ),
    Family(
        "guided-diffusion ImageNet 512",
        256,
        (0.5, 1, 1, 2, 2, 4, 4),
        2,
        (4, 5, 6),
        True,
        True,
        1000,
        512,
        "linear",
        1000,
    ),
    Family(
        "ilvr / P2 FFHQ 256",
        128,
        (1, 1, 2, 2, 4, 4),
        1,
        (4,),
        True,
        True,
        None,
        256,
        "linear",
        1000,
    ),
    Family(
        "improved-diffusion CIFAR-10",
        128,
        (1, 2, 2, 2),
        3,
        (1, 2),
        True,
        False,
        None,
        32,
        "cosine",
        4000,
        None,
        4,
        time_scale=0.25,
    ),
    Family(
        "improved-diffusion ImageNet 64",
        128,
        (1, 2, 3, 4),
        3,
        (2, 3),
        True,
        False,
        None,
        64,
        "cosine",
        4000,
        None,
        4,
        time_scale=0.25,
    ),
    Family(
        "improved-diffusion ImageNet 64 class-conditional",
        192,
        (1, 2, 3, 4),
        3,
        (2, 3),
        True,
        False,
        1000,
        64,
        "cosine",
        4000,
        None,
        4,
    ),
    Family(
        "improved-diffusion LSUN 256",
        128,
        (1, 1, 2, 2, 4, 4),
        2,
        (4,),
        False,
        False,
        None,
        256,
        "linear",
        1000,
        None,
        1,
    ),
)

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_out.0": "proj_out"}
QKV = ("to_q", "to_k", "to_v")


def layout_of(tensors: Mapping[str, Tensor]) -> Layout:
    """The layout of a state dict.

    Raises:
        UserError: it is none of an ADM U-Net, or one of another structure.
    """

    def shape(name: str) -> torch.Size:
        if name not in tensors:
            raise UserError(
                f"these weights have no {name}, so they are no ADM (guided-diffusion, "
                "improved-diffusion) denoiser."
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
    ends = {
        side: 1
        + max(int(name.split(".")[1]) for name in tensors if name.startswith(f"{side}_blocks."))
        for side in ("input", "output")
    }
    # A level ends with an upsampler behind its last block: a convolution of its own, or a second
    # residual block.
    upsamplers = {
        found[1]
        for name in tensors
        if (found := re.match(r"output_blocks\.(\d+)\.[12]\.(conv|in_layers\.0)\.weight$", name))
    }
    levels, every = len(upsamplers) + 1, ends["output"]
    if ends["input"] != every or every % levels or every == levels:
        raise UserError(
            f"these weights have {ends['input']} input blocks, {every} output blocks and {levels} "
            "levels, which no ADM U-Net has."
        )
    blocks = every // levels - 1
    firsts = [1 + level * (blocks + 1) for level in range(levels)]
    image, out = shape("input_blocks.0.0.weight")[1], shape("out.2.weight")[0]
    if image != 3 or out not in (3, 6):
        raise UserError(
            f"these weights take {image} channels and give {out}: a model of RGB images takes 3 "
            "and gives 3, or 6 with a learned variance. Upsamplers are not supported."
        )
    widths = tuple(shape(f"input_blocks.{first}.0.out_layers.3.weight")[0] for first in firsts)
    return Layout(
        channels=shape("time_embed.0.weight")[1],
        widths=widths,
        blocks=blocks,
        attention=tuple(
            level
            for level, first in enumerate(firsts)
            if f"input_blocks.{first}.1.qkv.weight" in tensors
        ),
        scale_shift=shape("input_blocks.1.0.emb_layers.1.weight")[0] == 2 * widths[0],
        resnet_resampling=levels > 1
        and f"input_blocks.{blocks + 1}.0.in_layers.0.weight" in tensors,
        learned=out == 6,
        classes=shape("label_emb.weight")[0] if "label_emb.weight" in tensors else None,
    )


def family_of(layout: Layout) -> Family | None:
    """The published family with this layout; None for a layout that none has."""
    return next((family for family in FAMILIES if family.has(layout)), None)


def network_of(layout: Layout, head_width: int | None) -> dict:
    """`UNet2DModel`'s arguments."""
    resampling = "resnet" if layout.resnet_resampling else "conv"
    plain = {
        "resnet": ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"),
        "conv": ("DownBlock2D", "UpBlock2D"),
    }[resampling]
    down, up = (
        [attentive if level in layout.attention else without for level in range(layout.levels)]
        for attentive, without in zip(("AttnDownBlock2D", "AttnUpBlock2D"), plain, strict=True)
    )
    return {
        "block_out_channels": list(layout.widths),
        "layers_per_block": layout.blocks,
        "down_block_types": down,
        "up_block_types": up[::-1],
        "downsample_type": resampling,
        "upsample_type": resampling,
        "attention_head_dim": head_width,
        "attn_norm_num_groups": 32,
        "resnet_time_scale_shift": "scale_shift" if layout.scale_shift else "default",
        "time_embedding_dim": 4 * layout.channels,
        "num_class_embeds": layout.classes,
    }


def modules(layout: Layout) -> dict[str, str]:
    """{module of `UNet2DModel`: module of ADM}, of convolutions, norms and linears.

    An attention's qkv stands under its `to_qkv`.
    """
    found = {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    if layout.classes:
        found["class_embedding"] = "label_emb"

    def resnet(ours: str, theirs: str) -> None:
        found.update({f"{ours}.{a}": f"{theirs}.{b}" for a, b in RESNET.items()})

    def attention(ours: str, theirs: str) -> None:
        found.update(
            {f"{ours}.{a}": f"{theirs}.{b}" for a, b in (ATTENTION | {"to_qkv": "qkv"}).items()}
        )

    def resampler(ours: str, theirs: str, convolution: str) -> None:
        if layout.resnet_resampling:
            resnet(ours, theirs)
        else:
            found[f"{ours}.conv"] = f"{theirs}.{convolution}"

    n, last = layout.blocks, layout.levels - 1
    for level in range(layout.levels):
        attentive = level in layout.attention
        for j in range(n):
            place = 1 + level * (n + 1) + j
            resnet(f"down_blocks.{level}.resnets.{j}", f"input_blocks.{place}.0")
            if attentive:
                attention(f"down_blocks.{level}.attentions.{j}", f"input_blocks.{place}.1")
        if level < last:
            resampler(
                f"down_blocks.{level}.downsamplers.0",
                f"input_blocks.{(level + 1) * (n + 1)}.0",
                "op",
            )
        up = last - level
        for j in range(n + 1):
            place = up * (n + 1) + j
            resnet(f"up_blocks.{up}.resnets.{j}", f"output_blocks.{place}.0")
            if attentive:
                attention(f"up_blocks.{up}.attentions.{j}", f"output_blocks.{place}.1")
        if level:
            resampler(
                f"up_blocks.{up}.upsamplers.0",
                f"output_blocks.{up * (n + 1) + n}.{2 if attentive else 1}",
                "conv",
            )
    resnet("mid_block.resnets.0", "middle_block.0")
    attention("mid_block.attentions.0", "middle_block.1")
    resnet("mid_block.resnets.1", "middle_block.2")
    return found


def converted(
    tensors: Mapping[str, Tensor],
    layout: Layout,
    heads: int | None,
    head_width: int | None,
    qkv: str,
) -> dict[str, Tensor]:
    """The tensors under `UNet2DModel`'s names.

    Arguments:
        heads: of every attention; None where `head_width` says how wide one is.
        qkv: order of its rows, as in `Family`.

    Raises:
        UserError: a tensor is left over, or heads do not divide a width.
    """
    found, used = {}, set()
    for ours, theirs in modules(layout).items():
        for part in ("weight", "bias"):
            name = f"{theirs}.{part}"
            if name not in tensors:
                # Shortcuts are not everywhere, embeddings have no bias; what is really missing,
                # loading will say.
                continue
            used.add(name)
            value = tensors[name]
            if ours.endswith("to_qkv"):
                parts = split(value.flatten(1) if value.ndim > 2 else value, heads, head_width, qkv)
                found.update(
                    {
                        f"{ours.removesuffix('to_qkv')}{to}.{part}": rows
                        for to, rows in zip(QKV, parts, strict=True)
                    }
                )
            else:
                found[f"{ours}.{part}"] = (
                    value.flatten(1) if theirs.endswith("proj_out") and part == "weight" else value
                )
    if left := sorted(tensors.keys() - used):
        raise UserError(
            f"these weights hold {len(left)} tensors that an ADM U-Net of their layout has not, "
            f"such as {left[0]}."
        )
    return found


def split(qkv: Tensor, heads: int | None, head_width: int | None, order: str) -> tuple[Tensor, ...]:
    """q, k and v, rows (C, …) each with heads outermost, of rows (3C, …)."""
    width = len(qkv) // 3
    count = heads or width // head_width
    if count == 0 or width % count:
        raise UserError(
            f"{count} attention heads do not divide {width} channels; set denoiser.heads or "
            "denoiser.head_width."
        )
    if order == "heads_first":
        rows = qkv.unflatten(0, (count, 3, width // count)).transpose(0, 1)
    else:
        rows = qkv.unflatten(0, (3, count, width // count))
    return torch.unbind(rows.flatten(1, 2))
