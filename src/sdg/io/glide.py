"""The noised CLIP of GLIDE (Nichol et al. 2021, arXiv 2112.10741): two state dicts.

`clip_image_enc.pt` is a ViT whose first token is one of a table by t, `clip_text_enc.pt` a CLIP's
text transformer. Their layout is OpenAI's glide-text2im.
"""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from sdg.io.state_dict import StateDict

__all__ = ["from_glide_image", "from_glide_text", "is_glide_image", "is_glide_text"]

IMAGE = "the image encoder of GLIDE's noised CLIP"
TEXT = "the text encoder of GLIDE's noised CLIP"
HEAD_WIDTH = 64
LOGIT_SCALE = 100.0
BLOCK = {
    "ln_1.weight": "f_attn.ln.g",
    "ln_1.bias": "f_attn.ln.b",
    "attn.out_proj.weight": "f_attn.f_c.w",
    "attn.out_proj.bias": "f_attn.f_c.b",
    "ln_2.weight": "f_mlp.ln.g",
    "ln_2.bias": "f_mlp.ln.b",
    "mlp.c_fc.weight": "f_mlp.f_1.w",
    "mlp.c_fc.bias": "f_mlp.f_1.b",
    "mlp.c_proj.weight": "f_mlp.f_2.w",
    "mlp.c_proj.bias": "f_mlp.f_2.b",
}  # our names within a block, and theirs
QUERY_KEY_VALUE = ("f_q.w", "f_k.w", "f_v.w", "f_q.b", "f_v.b")  # a key has no bias
OF_IMAGE = {
    "levels.weight": "blocks.input.w_t",
    "tower.conv1.weight": "blocks.input.patch_proj",
    "tower.positional_embedding": "blocks.input.w_pos",
    "tower.ln_pre.norm.weight": "blocks.input.ln.g",
    "tower.ln_pre.norm.bias": "blocks.input.ln.b",
    "tower.ln_post.weight": "blocks.output.ln.g",
    "tower.ln_post.bias": "blocks.output.ln.b",
}
OF_TEXT = {
    "tower.token_embedding.weight": "blocks.input.w_voc",
    "tower.positional_embedding": "blocks.input.w_pos",
    "tower.ln_final.weight": "blocks.output.ln.g",
    "tower.ln_final.bias": "blocks.output.ln.b",
}
PROJECTION = "blocks.output.f.w"


def is_glide_image(names: Collection[str]) -> bool:
    """Whether tensors of these names are GLIDE's noised image encoder."""
    return {"blocks.input.w_t", "blocks.input.patch_proj", PROJECTION} <= set(names)


def is_glide_text(names: Collection[str]) -> bool:
    """Whether tensors of these names are the text encoder beside it."""
    return {"blocks.input.w_voc", PROJECTION} <= set(names)


def from_glide_image(tensors: Mapping[str, Tensor], path: str) -> tuple[dict, dict[str, Tensor]]:
    """The config and the tensors of a `GlideImageEncoder`.

    Raises:
        UserError: a tensor is missing or left over, or the sizes do not fit together.
    """
    file = StateDict(tensors, {}, path, IMAGE)
    width, _, patch, _ = file.shape("blocks.input.patch_proj", 4)
    positions = file.shape("blocks.input.w_pos", 2)[0] - 1
    side = math.isqrt(positions)
    if side**2 != positions:
        raise file.refuse(f"its {positions} positions are no square")
    depth = checked_depth(file, width, OF_IMAGE)
    vision = {
        "image_size": patch * side,
        "layers": depth,
        "width": width,
        "head_width": HEAD_WIDTH,
        "patch_size": patch,
    }
    model = {"embed_dim": file.shape(PROJECTION, 2)[0], "vision_cfg": vision, "text_cfg": None}
    config = {
        "family": "glide",
        "clip": {"model": model, "words": []},
        # squaredcos_cap_v2, the cosine schedule with β at most 0.999
        "schedule": {"kind": "cosine", "T": file.shape("blocks.input.w_t", 2)[0]},
    }
    first = torch.zeros_like(tensors["blocks.input.w_t"][0])  # the level's is the only one
    ours = {
        **tower_tensors(tensors, depth, OF_IMAGE),
        "tower.class_embedding": first,
        "tower.proj": tensors[PROJECTION].T.contiguous(),
        "logit_scale": torch.tensor(LOGIT_SCALE),
    }
    return config, ours


def from_glide_text(tensors: Mapping[str, Tensor], path: str) -> tuple[dict, dict[str, Tensor]]:
    """The config and the tensors of a `GlideTextEncoder`.

    Raises:
        UserError: a tensor is missing or left over, or the sizes do not fit together.
    """
    file = StateDict(tensors, {}, path, TEXT)
    vocabulary, width = file.shape("blocks.input.w_voc", 2)
    depth = checked_depth(file, width, OF_TEXT)
    config = {
        "embed_dim": file.shape(PROJECTION, 2)[0],
        "context_length": file.shape("blocks.input.w_pos", 2)[0],
        "vocab_size": vocabulary,
        "width": width,
        "heads": width // HEAD_WIDTH,
        "layers": depth,
    }
    ours = tower_tensors(tensors, depth, OF_TEXT)
    ours["tower.text_projection"] = tensors[PROJECTION].T.contiguous()
    return config, ours


def checked_depth(file: StateDict, width: int, outer: Mapping[str, str]) -> int:
    """How many blocks a file has, all of them whole.

    Arguments:
        width: of the transformer.
        outer: our names of what lies outside of the blocks, and theirs.

    Raises:
        UserError: a tensor is missing or left over, or the width suits no heads.
    """
    depth = file.count("blocks") - 2  # beside the input and the output
    needed = {*outer.values(), PROJECTION}
    for i in range(depth):
        needed |= {f"blocks.block_{i}.{name}" for name in BLOCK.values()}
        needed |= {f"blocks.block_{i}.f_attn.{name}" for name in QUERY_KEY_VALUE}
    if missing := sorted(needed - file.tensors.keys()):
        raise file.refuse(f"it has no {missing[0]}; the file is not whole")
    if surplus := sorted(file.tensors.keys() - needed):
        raise file.refuse(f"it has a tensor {surplus[0]}, which is not known of it")
    if width % HEAD_WIDTH:
        raise file.refuse(f"its {width} channels are no multiple of heads of {HEAD_WIDTH}")
    for i in range(depth):
        for name in QUERY_KEY_VALUE:
            place = f"blocks.block_{i}.f_attn.{name}"
            if set(file.shape(place, 2 if name.endswith("w") else 1)) != {width}:
                raise file.refuse(f"its {place} is not {width} channels wide")
    return depth


def tower_tensors(
    tensors: Mapping[str, Tensor], depth: int, outer: Mapping[str, str]
) -> dict[str, Tensor]:
    """The tensors of one of open_clip's transformers, `tower`, but for its projection.

    Queries, keys and values lie in one matrix there, and keys have a bias, of zero here.
    """
    ours = {own: tensors[theirs] for own, theirs in outer.items()}
    for i in range(depth):
        block, tower = f"blocks.block_{i}", f"tower.transformer.resblocks.{i}"
        ours |= {f"{tower}.{own}": tensors[f"{block}.{theirs}"] for own, theirs in BLOCK.items()}
        q, k, v, of_q, of_v = (tensors[f"{block}.f_attn.{name}"] for name in QUERY_KEY_VALUE)
        ours[f"{tower}.attn.in_proj_weight"] = torch.cat([q, k, v])
        ours[f"{tower}.attn.in_proj_bias"] = torch.cat([of_q, torch.zeros_like(of_q), of_v])
    return ours
