"""ADM state dicts, of guided-diffusion and improved-diffusion, become a diffusers UNet2DModel."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sdg.errors import UserError
from sdg.io.adm_families import FAMILIES, Family, family_of
from sdg.io.adm_layout import Layout, layout_of

__all__ = ["FAMILIES", "Family", "Layout", "converted", "family_of", "layout_of", "network_of"]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_out.0": "proj_out", "to_qkv": "qkv"}
QKV = ("to_q", "to_k", "to_v")


def network_of(layout: Layout, head_width: int | None) -> dict:
    """`UNet2DModel`'s arguments."""
    resampling = "resnet" if layout.resnet_resampling else "conv"
    plain = {
        "resnet": ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"),
        "conv": ("DownBlock2D", "UpBlock2D"),
    }[resampling]
    down, up = [], []
    for level in range(layout.levels):
        attentive = level in layout.attention
        down.append("AttnDownBlock2D" if attentive else plain[0])
        up.append("AttnUpBlock2D" if attentive else plain[1])
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
    names = {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    if layout.classes:
        names["class_embedding"] = "label_emb"
    for level in range(layout.levels):
        names |= down_modules(layout, level)
        names |= up_modules(layout, level)
    names |= prefixed("mid_block.resnets.0", "middle_block.0", RESNET)
    names |= prefixed("mid_block.attentions.0", "middle_block.1", ATTENTION)
    names |= prefixed("mid_block.resnets.1", "middle_block.2", RESNET)
    return names


def down_modules(layout: Layout, level: int) -> dict[str, str]:
    """The part of `modules` on a level's way down; level 0 has the full resolution."""
    names: dict[str, str] = {}
    ours = f"down_blocks.{level}"
    start = 1 + level * (layout.blocks + 1)
    for j in range(layout.blocks):
        theirs = f"input_blocks.{start + j}"
        names |= prefixed(f"{ours}.resnets.{j}", f"{theirs}.0", RESNET)
        if level in layout.attention:
            names |= prefixed(f"{ours}.attentions.{j}", f"{theirs}.1", ATTENTION)
    if level < layout.levels - 1:
        theirs = f"input_blocks.{start + layout.blocks}.0"
        part = RESNET if layout.resnet_resampling else {"conv": "op"}
        names |= prefixed(f"{ours}.downsamplers.0", theirs, part)
    return names


def up_modules(layout: Layout, level: int) -> dict[str, str]:
    """The part of `modules` on a level's way up."""
    up = layout.levels - 1 - level
    names: dict[str, str] = {}
    ours = f"up_blocks.{up}"
    start, attentive = up * (layout.blocks + 1), level in layout.attention
    for j in range(layout.blocks + 1):
        theirs = f"output_blocks.{start + j}"
        names |= prefixed(f"{ours}.resnets.{j}", f"{theirs}.0", RESNET)
        if attentive:
            names |= prefixed(f"{ours}.attentions.{j}", f"{theirs}.1", ATTENTION)
    if level:
        theirs = f"output_blocks.{start + layout.blocks}.{2 if attentive else 1}"
        part = RESNET if layout.resnet_resampling else {"conv": "conv"}
        names |= prefixed(f"{ours}.upsamplers.0", theirs, part)
    return names


def prefixed(ours: str, theirs: str, names: Mapping[str, str]) -> dict[str, str]:
    """Names inside a module, with the module's own name before them on both sides."""
    return {f"{ours}.{our_part}": f"{theirs}.{part}" for our_part, part in names.items()}


def converted(
    tensors: Mapping[str, Tensor],
    layout: Layout,
    heads: int | None,
    head_width: int | None,
    qkv: str,
    heads_upsample: int | None = None,
) -> dict[str, Tensor]:
    """The tensors under `UNet2DModel`'s names.

    Arguments:
        heads: of every attention; None where `head_width` says how wide one is.
        qkv: order of its rows, as in `Family`.
        heads_upsample: as `heads`, of every attention on the way up; None where it has as many.

    Raises:
        UserError: a tensor is left over, or heads do not divide a width.
    """
    renamed, used = {}, set()
    for ours, theirs in modules(layout).items():
        for part in ("weight", "bias"):
            name = f"{theirs}.{part}"
            if name not in tensors:
                # Shortcuts are not everywhere, embeddings have no bias; loading names what is
                # really missing.
                continue
            used.add(name)
            value = tensors[name]
            if theirs.endswith(("qkv", "proj_out")) and value.ndim > 2:
                value = value.flatten(1)  # a 1 × 1 convolution is a linear layer
            if ours.endswith("to_qkv"):
                module = ours.removesuffix("to_qkv")
                on_way_up = ours.startswith("up_blocks")
                count = heads_upsample if on_way_up and heads_upsample else heads
                rows = split_qkv(value, count, head_width, qkv)
                for to, tensor in zip(QKV, rows, strict=True):
                    renamed[f"{module}{to}.{part}"] = tensor
            else:
                renamed[f"{ours}.{part}"] = value
    if left := sorted(tensors.keys() - used):
        raise UserError(
            f"these weights hold {len(left)} tensors that an ADM U-Net of their layout has not, "
            f"such as {left[0]}."
        )
    return renamed


def split_qkv(
    qkv: Tensor, heads: int | None, head_width: int | None, order: str
) -> tuple[Tensor, ...]:
    """q, k and v, rows (C, …) each with heads outermost, of rows (3C, …)."""
    width = len(qkv) // 3
    count = heads or width // (head_width or width)
    if count == 0 or width % count:
        raise UserError(
            f"{count} attention heads do not divide {width} channels; set heads or head_width."
        )
    if order == "heads_first":
        rows = qkv.unflatten(0, (count, 3, width // count)).transpose(0, 1)
    else:
        rows = qkv.unflatten(0, (3, count, width // count))
    return torch.unbind(rows.flatten(1, 2))
