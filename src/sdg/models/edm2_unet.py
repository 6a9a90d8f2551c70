"""The magnitude-preserving U-Net of EDM2 (Karras et al. 2024, arXiv 2312.02696).

Its weights are those of the files after the paper's normalisation (eq. 47) and with their gains:
they stay the same at sampling, so plain convolutions do. Modules are named as in the files.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["EDM2UNet"]

BALANCE = 0.3  # of a branch beside the main path
LIMIT = 256.0  # of an activation

Conv3, Conv1 = (partial(nn.Conv2d, kernel_size=k, padding=k // 2, bias=False) for k in (3, 1))
Linear = partial(nn.Linear, bias=False)


def silu(x: Tensor) -> Tensor:
    """Eq. 81."""
    return F.silu(x) / 0.596


def unit(x: Tensor, dim: int) -> Tensor:
    """x over its root mean square along this dimension."""
    length = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    out: Tensor = x / (1e-4 + length / math.sqrt(x.shape[dim]))
    return out


def balanced(a: Tensor, b: Tensor, of_b: float) -> Tensor:
    """The sum that keeps the magnitude, eq. 88."""
    return a.lerp(b, of_b) / math.hypot(1 - of_b, of_b)


def joined(a: Tensor, b: Tensor) -> Tensor:
    """Both as channels, each with half of the magnitude, eq. 103."""
    wide, deep = a.shape[1], b.shape[1]
    scale = math.sqrt((wide + deep) / 2)
    return torch.cat([a * (scale / math.sqrt(wide)), b * (scale / math.sqrt(deep))], 1)


class Block(nn.Module):
    """A block of the encoder or the decoder, fig. 21.

    Arguments:
        inside, outside, embedding: channels, and width of the embedding.
        encoder: of which half.
        change: `up`, `down` or none.
        attention: whether there is some; heads are 64 wide.
    """

    def __init__(
        self,
        inside: int,
        outside: int,
        embedding: int,
        encoder: bool,
        change: str = "",
        attention: bool = False,
    ):
        super().__init__()
        self.encoder, self.change = encoder, change
        self.heads = outside // 64 if attention else 0
        self.conv_res0 = Conv3(outside if encoder else inside, outside)
        self.emb_linear = Linear(embedding, outside)
        self.conv_res1 = Conv3(outside, outside)
        self.conv_skip = Conv1(inside, outside) if inside != outside else nn.Identity()
        if attention:
            self.attn_qkv = Conv1(outside, 3 * outside)
            self.attn_proj = Conv1(outside, outside)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        if self.change == "down":
            x = F.avg_pool2d(x, 2)
        elif self.change == "up":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        if self.encoder:
            x = unit(self.conv_skip(x), 1)
        scale = self.emb_linear(embedded)[:, :, None, None] + 1
        branch = self.conv_res1(silu(self.conv_res0(silu(x)) * scale))
        x = balanced(x if self.encoder else self.conv_skip(x), branch, BALANCE)
        if self.heads:
            x = balanced(x, self.attention(x), BALANCE)
        return x.clamp(-LIMIT, LIMIT)

    def attention(self, x: Tensor) -> Tensor:
        """Attention over the places; a head's channels hold q, k and v in turns."""
        count, width = x.shape[:2]
        qkv = self.attn_qkv(x).reshape(count, self.heads, width // self.heads, 3, -1)
        q, k, v = unit(qkv, 2).transpose(2, 4).unbind(3)
        out = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.attn_proj(out.transpose(2, 3).reshape(x.shape))
        return projected


class Fourier(nn.Module):
    """√2 cos(frequency · t + phase), eq. 75, of the file's frequencies and phases."""

    freqs: Tensor
    phases: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("freqs", 2 * math.pi * torch.randn(width))
        self.register_buffer("phases", 2 * math.pi * torch.rand(width))

    def forward(self, t: Tensor) -> Tensor:
        angles = t.to(self.freqs.dtype)[:, None] * self.freqs + self.phases
        return angles.cos() * math.sqrt(2)


class EDM2UNet(nn.Module):
    """F of EDM2: (B, channels, H, W), ¼ log σ (B,) and classes (B,) to (B, channels, H, W).

    Arguments:
        resolution: H and W, of images or latents.
        channels: of them.
        widths: channels of every level, the full resolution first.
        blocks: residual blocks a level.
        attention: resolutions that have attention.
        noise: channels of the embedding of ¼ log σ.
        embedding: width of the embedding of noise and class.
        classes: how many, 0 for an unconditional network. There is no class for "no class": EDM2
            guides with a network of its own.
    """

    null_label = None

    def __init__(
        self,
        resolution: int,
        channels: int,
        widths: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        noise: int,
        embedding: int,
        classes: int,
    ):
        super().__init__()
        self.classes = classes
        self.emb_fourier, self.emb_noise = Fourier(noise), Linear(noise, embedding)
        if classes:
            self.emb_label = nn.Embedding(classes, embedding)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        sides = [resolution >> level for level in range(len(widths))]
        width = widths[0]
        self.enc[f"{resolution}x{resolution}_conv"] = Conv3(channels + 1, width)
        kept = [width]
        for side, outside in zip(sides, widths, strict=True):
            place = f"{side}x{side}"
            if side != resolution:
                self.enc[f"{place}_down"] = Block(width, width, embedding, True, "down")
                kept.append(width)
            for j in range(blocks):
                self.enc[f"{place}_block{j}"] = Block(
                    width, outside, embedding, True, attention=side in attention
                )
                width = outside
                kept.append(width)
        for side, outside in zip(sides[::-1], list(widths)[::-1], strict=True):
            place = f"{side}x{side}"
            if side == sides[-1]:
                self.dec[f"{place}_in0"] = Block(width, width, embedding, False, attention=True)
                self.dec[f"{place}_in1"] = Block(width, width, embedding, False)
            else:
                self.dec[f"{place}_up"] = Block(width, width, embedding, False, "up")
            for j in range(blocks + 1):
                self.dec[f"{place}_block{j}"] = Block(
                    width + kept.pop(), outside, embedding, False, attention=side in attention
                )
                width = outside
        self.out_conv = Conv3(width, channels)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        embedded = self.emb_noise(self.emb_fourier(t))
        if label is not None:
            embedded = balanced(embedded, self.emb_label(label), 0.5)
        embedded = silu(embedded)
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        kept: list[Tensor] = []
        for name, module in self.enc.items():
            x = module(x) if name.endswith("_conv") else module(x, embedded)
            kept.append(x)
        for name, module in self.dec.items():
            x = module(joined(x, kept.pop()) if "_block" in name else x, embedded)
        out: Tensor = self.out_conv(x)
        return out
