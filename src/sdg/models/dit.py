"""The transformer of DiT and SiT.

Peebles & Xie 2022 (arXiv 2212.09748) and Ma et al. 2024 (arXiv 2401.08740) share it. Its modules
are named as in their files. diffusers' `DiTTransformer2DModel` has other frequencies of t (half − 1
in the place of half), and so another output.
"""

import torch
from timm.layers import Attention, GELUTanh, Mlp, PatchEmbed
from torch import Tensor, nn

from sdg.models.adaln import FinalLayer, TimeEmbedding, modulated, modulation, pixels

__all__ = ["DiT"]


class Block(nn.Module):
    """Attention and a feed-forward layer, each shifted, scaled and gated by the condition."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attn = Attention(width, heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.mlp = Mlp(width, hidden, act_layer=GELUTanh)
        self.adaLN_modulation = modulation(width, 6)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.adaLN_modulation(condition).chunk(6, 1)
        x = x + gate[:, None] * self.attn(modulated(self.norm1(x), shift, scale))
        x = x + gate2[:, None] * self.mlp(modulated(self.norm2(x), shift2, scale2))
        return x


class DiT(nn.Module):
    """(B, channels, H, W), times (B,) and classes (B,) to (B, outputs, H, W).

    Arguments:
        resolution: H and W, of images or latents.
        channels, outputs: of what it reads and gives.
        patch: side of the square that is one token.
        width, depth, heads, hidden: of the transformer; `hidden` is the feed-forward layers'.
        classes: how many; the class after the last, `null_label`, is no class, for classifier-free
            guidance.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        outputs: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        classes: int,
    ):
        super().__init__()
        self.patch, self.classes, self.null_label = patch, classes, classes
        self.x_embedder = PatchEmbed(resolution, patch, channels, width)
        self.t_embedder = TimeEmbedding(width)
        self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(classes + 1, width)})
        # The sinusoids of the places, which are in the files.
        self.register_buffer("pos_embed", torch.zeros(1, (resolution // patch) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.final_layer = FinalLayer(norm, width, patch**2 * outputs)

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        condition = self.t_embedder(t) + self.y_embedder["embedding_table"](label)
        tokens = self.x_embedder(x) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens, condition)
        return pixels(self.final_layer(tokens, condition), self.patch)
