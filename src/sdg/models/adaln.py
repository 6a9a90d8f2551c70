"""Parts of transformers whose norms are shifted and scaled by time and class (adaLN-Zero).

Peebles & Xie 2022, arXiv 2212.09748.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FinalLayer", "TimeEmbedding", "modulated", "modulation", "pixels"]


class TimeEmbedding(nn.Module):
    """A sinusoid of 256 channels, cosines first, periods up to 2π · 10000, and two layers.

    Arguments:
        width: of the embedding.
    """

    def __init__(self, width: int, frequencies: int = 256):
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """(B, width) of times (B,), integers or real numbers."""
        t = t.to(next(self.mlp.parameters()).dtype)
        half = self.frequencies // 2
        steps = torch.arange(half, dtype=t.dtype, device=t.device)
        angles = t[:, None] * torch.exp(-math.log(10000) * steps / half)
        embedded: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], 1))
        return embedded


class FinalLayer(nn.Module):
    """The last norm, shifted and scaled, and each token's pixels.

    Arguments:
        norm: over `width` channels.
        outputs: numbers a token.
    """

    def __init__(self, norm: nn.Module, width: int, outputs: int):
        super().__init__()
        self.norm_final = norm
        self.linear = nn.Linear(width, outputs)
        self.adaLN_modulation = modulation(width, 2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(condition).chunk(2, 1)
        out: Tensor = self.linear(modulated(self.norm_final(x), shift, scale))
        return out


def modulation(width: int, parts: int) -> nn.Sequential:
    """From a condition (B, width) to that many shifts, scales and gates, (B, parts · width)."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, parts * width))


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift for tokens (B, N, width)."""
    return torch.addcmul(shift[:, None], x, 1 + scale[:, None])


def pixels(tokens: Tensor, patch: int) -> Tensor:
    """The image (B, C, H, W) of tokens (B, N, patch · patch · C), rows first, channels last."""
    side = math.isqrt(tokens.shape[1])
    grid = tokens.reshape(len(tokens), side, side, patch * patch, -1)
    return F.pixel_shuffle(grid.permute(0, 4, 3, 1, 2).flatten(1, 2), patch)
