"""The U-Nets of EDM (Karras et al. 2022, arXiv 2206.00364), with modules named as in its files.

`SongUNet` is DDPM++ and NCSN++ (Song et al. 2021, arXiv 2011.13456); `DhariwalUNet` is ADM
(Dhariwal & Nichol 2021, arXiv 2105.05233). They are one network with other constants.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["EDMUNet"]


def group_norm(width: int, eps: float) -> nn.GroupNorm:
    """Of 32 groups, or of as many of four channels as there are."""
    return nn.GroupNorm(min(32, width // 4), width, eps)


class Conv(nn.Module):
    """A convolution behind a change of the resolution, either of which may be missing.

    Arguments:
        inside, outside: channels.
        kernel: its side; 0 for no convolution.
        change: `up`, `down` or none.
        taps: of the filter that changes the resolution: 2 or 4.
        fused: convolve first, and filter without a border, as NCSN++'s residual encoder does.
    """

    weight: Tensor | None
    bias: Tensor | None
    resample_filter: Tensor

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int,
        change: str = "",
        taps: int = 2,
        fused: bool = False,
    ):
        super().__init__()
        self.change, self.fused, self.padding = change, fused, kernel // 2
        self.weight = self.bias = None
        if kernel:
            self.weight = nn.Parameter(torch.empty(outside, inside, kernel, kernel))
            self.bias = nn.Parameter(torch.zeros(outside))
            nn.init.kaiming_uniform_(self.weight, math.sqrt(5))
        if change:
            line = torch.tensor([1.0, 3.0, 3.0, 1.0] if taps == 4 else [1.0, 1.0])
            square = torch.outer(line, line)[None, None]
            self.register_buffer("resample_filter", square / square.sum())

    def forward(self, x: Tensor) -> Tensor:
        border = (self.resample_filter.shape[-1] - 1) // 2 if self.change else 0
        if self.fused and self.weight is not None:
            x = F.conv2d(x, self.weight, self.bias, padding=self.padding + border)
            return self.resampled(x, 0)
        if self.change:
            x = self.resampled(x, border)
        if self.weight is None:
            return x
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)

    def resampled(self, x: Tensor, border: int) -> Tensor:
        """x at half or twice the resolution, each channel by itself."""
        width = x.shape[1]
        taps = self.resample_filter.to(x.dtype).expand(width, -1, -1, -1)
        if self.change == "up":
            return F.conv_transpose2d(x, 4 * taps, stride=2, padding=border, groups=width)
        return F.conv2d(x, taps, stride=2, padding=border, groups=width)


class Block(nn.Module):
    """A residual block, and attention behind it.

    Arguments:
        inside, outside: channels.
        embedding: width of the embedding of noise and class.
        song: whether it is SongUNet's: one head, the embedding added, sums times √½.
        attention: whether there is some; DhariwalUNet's heads are 64 wide.
        change, taps: as of `Conv`.
    """

    def __init__(
        self,
        inside: int,
        outside: int,
        embedding: int,
        song: bool,
        attention: bool = False,
        change: str = "",
        taps: int = 2,
    ):
        super().__init__()
        self.song, self.outside = song, outside
        self.scale = math.sqrt(0.5) if song else 1.0
        self.heads = (1 if song else outside // 64) if attention else 0
        eps = 1e-6 if song else 1e-5
        self.norm0 = group_norm(inside, eps)
        self.conv0 = Conv(inside, outside, 3, change, taps)
        self.affine = nn.Linear(embedding, outside * (1 if song else 2))
        self.norm1 = group_norm(outside, eps)
        self.conv1 = Conv(outside, outside, 3)
        self.skip: nn.Module = nn.Identity()
        if change or inside != outside:
            kernel = 1 if song or inside != outside else 0
            self.skip = Conv(inside, outside, kernel, change, taps)
        if self.heads:
            self.norm2 = group_norm(outside, eps)
            self.qkv = Conv(outside, 3 * outside, 1)
            self.proj = Conv(outside, outside, 1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        modulation = self.affine(embedded)[:, :, None, None]
        if self.song:
            h = self.norm1(h + modulation)
        else:
            scale, shift = modulation.chunk(2, 1)
            h = self.norm1(h) * (1 + scale) + shift
        x = (self.conv1(F.silu(h)) + self.skip(x)) * self.scale
        return (x + self.attention(x)) * self.scale if self.heads else x

    def attention(self, x: Tensor) -> Tensor:
        """Attention over the places; a head's channels hold q, k and v in turns."""
        count, width = x.shape[:2]
        qkv = self.qkv(self.norm2(x)).reshape(count, self.heads, width // self.heads, 3, -1)
        q, k, v = qkv.transpose(2, 4).unbind(3)
        out = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(out.transpose(2, 3).reshape(x.shape))
        return projected


class FourierEmbedding(nn.Module):
    """The frequencies of NCSN++, which are in its files."""

    freqs: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("freqs", torch.randn(width // 2) * 16)


class EDMUNet(nn.Module):
    """F of EDM: (B, channels, H, W), ¼ log σ (B,) and classes (B,) to (B, channels, H, W).

    Arguments:
        resolution: H and W.
        channels: of the images.
        song: SongUNet, or else DhariwalUNet.
        first: channels of the first convolution.
        widths: channels of every level, the full resolution first.
        blocks: residual blocks a level.
        attention: resolutions that have attention.
        noise: channels of the sinusoid of ¼ log σ.
        embedding: width of the embedding of noise and class.
        fourier: whether its frequencies are random ones of the file, as in NCSN++.
        residual: whether the image is added at every level, as in NCSN++.
        taps: of the filters that change the resolution.
        classes: how many, 0 for an unconditional network. There is no class for "no class".
    """

    null_label = None

    def __init__(
        self,
        resolution: int,
        channels: int,
        song: bool,
        first: int,
        widths: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        noise: int,
        embedding: int,
        fourier: bool,
        residual: bool,
        taps: int,
        classes: int,
    ):
        super().__init__()
        self.song, self.noise, self.classes = song, noise, classes
        self.map_noise = FourierEmbedding(noise) if fourier else None
        self.map_layer0 = nn.Linear(noise, embedding)
        self.map_layer1 = nn.Linear(embedding, embedding)
        if classes:
            self.map_label = nn.Linear(classes, noise if song else embedding, bias=song)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        sides = [resolution >> level for level in range(len(widths))]
        width, image = first, channels
        self.enc[f"{resolution}x{resolution}_conv"] = Conv(channels, first, 3)
        kept = [first]
        for side, outside in zip(sides, widths, strict=True):
            place = f"{side}x{side}"
            if side != resolution:
                self.enc[f"{place}_down"] = Block(
                    width, width, embedding, song, change="down", taps=taps
                )
                kept.append(width)
                if residual:
                    self.enc[f"{place}_aux_residual"] = Conv(image, width, 3, "down", taps, True)
                    image = width
            for j in range(blocks):
                self.enc[f"{place}_block{j}"] = Block(
                    width, outside, embedding, song, side in attention
                )
                width = outside
                kept.append(width)
        for side, outside in zip(sides[::-1], list(widths)[::-1], strict=True):
            place = f"{side}x{side}"
            if side == sides[-1]:
                self.dec[f"{place}_in0"] = Block(width, width, embedding, song, True)
                self.dec[f"{place}_in1"] = Block(width, width, embedding, song)
            else:
                self.dec[f"{place}_up"] = Block(
                    width, width, embedding, song, change="up", taps=taps
                )
            for j in range(blocks + 1):
                attentive = side in attention and (not song or j == blocks)
                self.dec[f"{place}_block{j}"] = Block(
                    width + kept.pop(), outside, embedding, song, attentive
                )
                width = outside
        norm, conv = group_norm(width, 1e-6 if song else 1e-5), Conv(width, channels, 3)
        if song:
            self.dec[f"{resolution}x{resolution}_aux_norm"] = norm
            self.dec[f"{resolution}x{resolution}_aux_conv"] = conv
        else:
            self.out_norm, self.out_conv = norm, conv

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        embedded = self.embedded(t, label)
        kept: list[Tensor] = []
        image = x
        for name, module in self.enc.items():
            if name.endswith("_conv"):
                x = module(x)
            elif name.endswith("_aux_residual"):
                x = kept[-1] = image = (x + module(image)) * math.sqrt(0.5)
                continue
            else:
                x = module(x, embedded)
            kept.append(x)
        for name, module in self.dec.items():
            if "_aux_" in name:
                x = module(x if name.endswith("_aux_norm") else F.silu(x))
                continue
            x = module(torch.cat([x, kept.pop()], 1) if "_block" in name else x, embedded)
        return x if self.song else self.out_conv(F.silu(self.out_norm(x)))

    def embedded(self, t: Tensor, label: Tensor | None) -> Tensor:
        """Noise and class, (B, embedding)."""
        kind, half = self.map_layer0.weight.dtype, self.noise // 2
        if self.map_noise is None:
            steps = torch.arange(half, dtype=kind, device=t.device)
            frequencies = 1e-4 ** (steps / (half - 1 if self.song else half))
        else:
            frequencies = 2 * math.pi * self.map_noise.freqs
        angles = t.to(kind)[:, None] * frequencies
        waves = [angles.sin(), angles.cos()] if self.song else [angles.cos(), angles.sin()]
        h = torch.cat(waves, 1)
        classes = None
        if label is not None:
            one_hot = F.one_hot(label, self.classes).to(kind)
            classes = self.map_label(one_hot * math.sqrt(self.classes) if self.song else one_hot)
        if self.song and classes is not None:
            h = h + classes
        h = self.map_layer1(F.silu(self.map_layer0(h)))
        if not self.song and classes is not None:
            h = h + classes
        return F.silu(h)
