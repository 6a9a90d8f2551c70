"""The U-Nets of v-diffusion, with modules named as in its files.

Crowson & jd_pressman's models of 2021 and 2022, trained on v of Salimans & Ho 2022 (arXiv
2202.00512). A level holds the level below it, between its way down and its way up.
"""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["VDiffusionUNet"]


class Block(nn.Module):
    """Two convolutions, each before a ReLU, beside the input or a convolution of it.

    Arguments:
        inside, middle, outside: channels.
        last: whether the second ReLU is left out.
    """

    def __init__(self, inside: int, middle: int, outside: int, last: bool = False):
        super().__init__()
        self.main = nn.ModuleDict(
            {
                "0": nn.Conv2d(inside, middle, 3, padding=1),
                "2": nn.Conv2d(middle, outside, 3, padding=1),
            }
        )
        same = inside == outside
        self.skip = nn.Identity() if same else nn.Conv2d(inside, outside, 1, bias=False)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        h = self.main["2"](F.relu(self.main["0"](x)))
        out: Tensor = (h if self.last else F.relu(h)) + self.skip(x)
        return out


class Attention(nn.Module):
    """Attention over the places, added to the input; q of all heads comes first, then k and v.

    Arguments:
        width: channels.
        head: channels of a head.
        norm: whether the input is normalised first, all channels in one group.
    """

    def __init__(self, width: int, head: int, norm: bool):
        super().__init__()
        self.heads = width // head
        self.norm = nn.GroupNorm(1, width) if norm else nn.Identity()
        self.qkv_proj = nn.Conv2d(width, 3 * width, 1)
        self.out_proj = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv_proj(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1))
        q, k, v = qkv.mT.unbind(1)
        h = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = x + self.out_proj(h.mT.reshape(x.shape))
        return out


class Below(nn.Module):
    """The levels below a level, beside what enters them.

    Arguments:
        main: modules of the next level.
        skip_first: whether the input's channels come before those of the levels below.
    """

    def __init__(self, main: nn.Sequential, skip_first: bool):
        super().__init__()
        self.main, self.skip_first = main, skip_first

    def forward(self, x: Tensor) -> Tensor:
        h = self.main(x)
        return torch.cat([x, h] if self.skip_first else [h, x], 1)


class FourierFeatures(nn.Module):
    """cos 2π w t, then sin 2π w t, with the w of the file.

    Arguments:
        features: how many, of both together.
    """

    def __init__(self, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features // 2, 1))

    def forward(self, t: Tensor) -> Tensor:
        """(B, features) of times (B,)."""
        angles = 2 * math.pi * t[:, None] @ self.weight.T
        return torch.cat([angles.cos(), angles.sin()], 1)


class VDiffusionUNet(nn.Module):
    """v of (B, channels, H, W) and times (B,).

    Arguments:
        resolution: H and W.
        channels: of the images.
        features: of the time, beside the image's channels.
        widths: channels of every level, the full resolution first.
        blocks: blocks a level on the way down, and as many on the way up.
        attention: levels that have attention behind every block.
        ported: whether it is one of the four models from JAX. These have no norm before the
            attention, heads of 128 channels instead of 64, the nearest pixel on the way up instead
            of a bilinear mean, and the skipped channels first.
        last_relu: whether a ReLU follows the last convolution.
    """

    classes = 0
    null_label = None

    def __init__(
        self,
        resolution: int,
        channels: int,
        features: int,
        widths: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        ported: bool,
        last_relu: bool,
    ):
        super().__init__()
        self.channels, self.widths, self.blocks = channels, widths, blocks
        self.attention, self.ported, self.last_relu = attention, ported, last_relu
        self.timestep_embed = FourierFeatures(features)
        self.net = nn.Sequential(*self.level(0, channels + features))

    def level(self, level: int, inside: int) -> Iterator[nn.Module]:
        """The modules of a level, those below it among them.

        Arguments:
            inside: channels that enter it.
        """
        width, deepest = self.widths[level], level == len(self.widths) - 1
        outside = self.widths[level - 1] if level else self.channels
        if level:
            yield nn.AvgPool2d(2)
        for i in range(self.blocks):
            yield from self.attentive(level, inside if i == 0 else width, width)
        inside = width
        if not deepest:
            yield Below(nn.Sequential(*self.level(level + 1, width)), self.ported)
            inside = 2 * width
        for i in range(self.blocks):
            out = outside if i == self.blocks - 1 else width
            yield from self.attentive(level, inside if i == 0 else width, out)
        if level:
            yield nn.Upsample(scale_factor=2, mode="nearest" if self.ported else "bilinear")

    def attentive(self, level: int, inside: int, outside: int) -> Iterator[nn.Module]:
        """A block, and attention behind it where the level has some."""
        last = level == 0 and outside == self.channels and not self.last_relu
        yield Block(inside, self.widths[level], outside, last)
        if level in self.attention:
            yield Attention(outside, 128 if self.ported else 64, norm=not self.ported)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        of_time = self.timestep_embed(t.to(self.timestep_embed.weight.dtype)).to(x.dtype)
        planes = of_time[:, :, None, None].expand(-1, -1, *x.shape[2:])
        v: Tensor = self.net(torch.cat([x, planes], 1))
        return v
