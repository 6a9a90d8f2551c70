"""JiT, the transformer on large patches of pixels that gives the image itself.

Li & He 2025, arXiv 2511.13720. Its modules are named as in its files.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import AttentionRope
from torch import Tensor, nn

from sdg.models.adaln import FinalLayer, TimeEmbedding, modulated, modulation, pixels

__all__ = ["JiT"]


class RMSNorm(nn.RMSNorm):
    """x/√(mean x² + 10⁻⁶), times weights."""

    def __init__(self, width: int, **options: Any):
        super().__init__(width, eps=1e-6, **options)


class SwiGLU(nn.Module):
    """w_3 (silu(a) b) of (a, b) = w_12 x: Shazeer 2020, arXiv 2002.05202."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.w12(x).chunk(2, -1)
        out: Tensor = self.w3(F.silu(a) * b)
        return out


class Block(nn.Module):
    """Attention and a feed-forward layer, each shifted, scaled and gated by the condition.

    Arguments:
        context: class tokens before the image's, which have no place.
    """

    def __init__(self, width: int, heads: int, hidden: int, context: int):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.attn = AttentionRope(
            width, heads, num_prefix_tokens=context, qk_norm=True, norm_layer=RMSNorm
        )
        self.mlp = SwiGLU(width, hidden)
        self.adaLN_modulation = modulation(width, 6)

    def forward(self, x: Tensor, condition: Tensor, places: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.adaLN_modulation(condition).chunk(6, 1)
        x = x + gate[:, None] * self.attn(modulated(self.norm1(x), shift, scale), places)
        x = x + gate2[:, None] * self.mlp(modulated(self.norm2(x), shift2, scale2))
        return x


class JiT(nn.Module):
    """x̂_0 of (B, channels, H, W), times (B,) and classes (B,).

    Arguments:
        resolution: H and W.
        channels: of the images.
        patch: side of the square that is one token.
        bottleneck: channels that a patch is squeezed into.
        width, depth, heads, hidden: of the transformer; `hidden` is the feed-forward layers'.
        context, start: how many class tokens join the image's, and before which block.
        classes: how many; the class after the last, `null_label`, is no class, for classifier-free
            guidance.
    """

    pos_embed: Tensor

    def __init__(
        self,
        resolution: int,
        channels: int,
        patch: int,
        bottleneck: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        context: int,
        start: int,
        classes: int,
    ):
        super().__init__()
        self.patch, self.start, self.context = patch, start, context
        self.side, self.head = resolution // patch, width // heads
        self.classes, self.null_label = classes, classes
        self.t_embedder = TimeEmbedding(width)
        self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(classes + 1, width)})
        squeeze = nn.Conv2d(channels, bottleneck, patch, patch, bias=False)
        self.x_embedder = nn.ModuleDict(
            {"proj1": squeeze, "proj2": nn.Conv2d(bottleneck, width, 1)}
        )
        # The sinusoids of the places, which are in the files.
        self.register_buffer("pos_embed", torch.zeros(1, self.side**2, width))
        self.in_context_posemb = nn.Parameter(torch.zeros(1, context, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, context if i >= start else 0) for i in range(depth)
        )
        self.final_layer = FinalLayer(RMSNorm(width), width, patch**2 * channels)

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        of_class = self.y_embedder["embedding_table"](label)
        condition, places = self.t_embedder(t) + of_class, self.places(x)
        squeezed = self.x_embedder["proj2"](self.x_embedder["proj1"](x))
        tokens = squeezed.flatten(2).transpose(1, 2) + self.pos_embed
        for i, block in enumerate(self.blocks):
            if i == self.start:
                tokens = torch.cat([of_class[:, None] + self.in_context_posemb, tokens], 1)
            tokens = block(tokens, condition, places)
        return pixels(self.final_layer(tokens[:, self.context :], condition), self.patch)

    def places(self, x: Tensor) -> Tensor:
        """Sines, then cosines, by which each place turns q and k, (side², 2 · head).

        The first half of a head turns with the row, the second with the column, pairs of channels
        with frequencies from 1 down to 1/10000: Su et al. 2021, arXiv 2104.09864.
        """
        kind = self.pos_embed.dtype
        half = self.head // 2
        steps = torch.arange(0, half, 2, dtype=kind, device=x.device) / half
        along = torch.arange(self.side, dtype=kind, device=x.device)[:, None] * torch.exp(
            -math.log(10000) * steps
        )
        along = along.repeat_interleave(2, 1)
        rows = along.repeat_interleave(self.side, 0)
        angles = torch.cat([rows, along.repeat(self.side, 1)], 1)
        return torch.cat([angles.sin(), angles.cos()], 1)
