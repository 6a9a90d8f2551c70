"""ADM written from the papers (Nichol & Dhariwal 2021, Dhariwal & Nichol 2021).

It is functions of a state dict: what conversions are compared with.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F


class Net(NamedTuple):
    channels: int
    multipliers: tuple
    blocks: int
    attention: tuple
    scale_shift: bool = True
    residual: bool = True  # what changes the resolution
    classes: int | None = None
    heads: int | None = None
    head_width: int | None = None
    qkv_first: bool = False
    learned: bool = True
    heads_upsample: int | None = None

    @property
    def widths(self):
        return [int(self.channels * m) for m in self.multipliers]

    def heads_of(self, width, on_way_up=False):
        if on_way_up and self.heads_upsample:
            return self.heads_upsample
        return self.heads or width // self.head_width


def shapes(net: Net) -> dict[str, tuple]:
    """Every tensor's name and shape, in the order in which the paper's network is built."""
    found, embedding = {}, 4 * net.channels

    def affine(name, *shape):
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    def resnet(name, inside, outside):
        affine(f"{name}.in_layers.0", inside)
        affine(f"{name}.in_layers.2", outside, inside, 3, 3)
        affine(f"{name}.emb_layers.1", (2 if net.scale_shift else 1) * outside, embedding)
        affine(f"{name}.out_layers.0", outside)
        affine(f"{name}.out_layers.3", outside, outside, 3, 3)
        if inside != outside:
            affine(f"{name}.skip_connection", outside, inside, 1, 1)

    def attention(name, width):
        affine(f"{name}.norm", width)
        affine(f"{name}.qkv", 3 * width, width, 1)
        affine(f"{name}.proj_out", width, width, 1)

    affine("time_embed.0", embedding, net.channels)
    affine("time_embed.2", embedding, embedding)
    if net.classes:
        found["label_emb.weight"] = (net.classes, embedding)
    width = net.widths[0]
    affine("input_blocks.0.0", width, 3, 3, 3)
    kept, place = [width], 1
    for level, wide in enumerate(net.widths):
        for _ in range(net.blocks):
            resnet(f"input_blocks.{place}.0", width, wide)
            width = wide
            if level in net.attention:
                attention(f"input_blocks.{place}.1", width)
            kept.append(width)
            place += 1
        if level < len(net.widths) - 1:
            if net.residual:
                resnet(f"input_blocks.{place}.0", width, width)
            else:
                affine(f"input_blocks.{place}.0.op", width, width, 3, 3)
            kept.append(width)
            place += 1
    resnet("middle_block.0", width, width)
    attention("middle_block.1", width)
    resnet("middle_block.2", width, width)
    place = 0
    for level, wide in reversed(list(enumerate(net.widths))):
        for block in range(net.blocks + 1):
            resnet(f"output_blocks.{place}.0", width + kept.pop(), wide)
            width = wide
            if level in net.attention:
                attention(f"output_blocks.{place}.1", width)
            if level and block == net.blocks:
                last = 2 if level in net.attention else 1
                if net.residual:
                    resnet(f"output_blocks.{place}.{last}", width, width)
                else:
                    affine(f"output_blocks.{place}.{last}.conv", width, width, 3, 3)
            place += 1
    affine("out.0", width)
    affine("out.2", 6 if net.learned else 3, width, 3, 3)
    return found


def random_weights(net: Net, seed: int = 0, dtype=torch.float64) -> dict[str, torch.Tensor]:
    """Values of the size that a trained network has, none of them zero."""
    generator = torch.Generator().manual_seed(seed)

    def value(name, shape):
        draw = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) > 1:
            fan_in = math.prod(shape[1:])
            return (draw / fan_in**0.5).to(dtype)
        centre = 1 if name.endswith("weight") else 0  # a norm's weight, else a bias
        return (centre + 0.2 * draw).to(dtype)

    return {name: value(name, shape) for name, shape in shapes(net).items()}


def forward(net: Net, p: dict, x, t, y=None):
    """ε̂, with Σ's interpolation behind it, for x (B, 3, H, W), t (B,) and classes y (B,).

    t may be fractional.
    """

    def affine(name):
        return p[f"{name}.weight"], p[f"{name}.bias"]

    def conv(name, h, **options):
        return F.conv2d(h, *affine(name), **options)

    def norm(name, h):
        return F.group_norm(h, 32, *affine(name), eps=1e-5)

    def resnet(name, h, change=lambda u: u):
        u = conv(f"{name}.in_layers.2", change(F.silu(norm(f"{name}.in_layers.0", h))), padding=1)
        e = F.linear(F.silu(emb), *affine(f"{name}.emb_layers.1"))[:, :, None, None]
        if net.scale_shift:
            scale, shift = e.chunk(2, 1)
            u = norm(f"{name}.out_layers.0", u) * (1 + scale) + shift
        else:
            u = norm(f"{name}.out_layers.0", u + e)
        u = conv(f"{name}.out_layers.3", F.silu(u), padding=1)
        h = change(h)
        return u + (
            conv(f"{name}.skip_connection", h) if f"{name}.skip_connection.weight" in p else h
        )

    def attention(name, h):
        b, c, *size = h.shape
        qkv = F.conv1d(norm(f"{name}.norm", h).flatten(2), *affine(f"{name}.qkv"))
        n = net.heads_of(c, name.startswith("output_blocks"))
        if net.qkv_first:
            q, k, v = qkv.view(b, 3, n, c // n, -1).unbind(1)
        else:
            q, k, v = qkv.view(b, n, 3, c // n, -1).unbind(2)
        weight = torch.softmax(torch.einsum("bhci,bhcj->bhij", q, k) / (c // n) ** 0.5, -1)
        out = torch.einsum("bhij,bhcj->bhci", weight, v).reshape(b, c, -1)
        return h + F.conv1d(out, *affine(f"{name}.proj_out")).view(b, c, *size)

    def halve(u):
        return F.avg_pool2d(u, 2)

    def double(u):
        return F.interpolate(u, scale_factor=2, mode="nearest")

    half = net.channels // 2
    angles = t.float()[:, None] * torch.exp(
        -math.log(10000) * torch.arange(half, dtype=torch.float32) / half
    )
    emb = torch.cat([angles.cos(), angles.sin()], 1).to(x.dtype)
    emb = F.linear(F.silu(F.linear(emb, *affine("time_embed.0"))), *affine("time_embed.2"))
    if net.classes:
        emb = emb + p["label_emb.weight"][y]
    h = conv("input_blocks.0.0", x, padding=1)
    kept, place = [h], 1
    for level in range(len(net.widths)):
        for _ in range(net.blocks):
            h = resnet(f"input_blocks.{place}.0", h)
            if level in net.attention:
                h = attention(f"input_blocks.{place}.1", h)
            kept.append(h)
            place += 1
        if level < len(net.widths) - 1:
            h = (
                resnet(f"input_blocks.{place}.0", h, halve)
                if net.residual
                else conv(f"input_blocks.{place}.0.op", h, stride=2, padding=1)
            )
            kept.append(h)
            place += 1
    h = resnet("middle_block.2", attention("middle_block.1", resnet("middle_block.0", h)))
    place = 0
    for level in reversed(range(len(net.widths))):
        for block in range(net.blocks + 1):
            h = resnet(f"output_blocks.{place}.0", torch.cat([h, kept.pop()], 1))
            if level in net.attention:
                h = attention(f"output_blocks.{place}.1", h)
            if level and block == net.blocks:
                last = 2 if level in net.attention else 1
                h = (
                    resnet(f"output_blocks.{place}.{last}", h, double)
                    if net.residual
                    else conv(f"output_blocks.{place}.{last}.conv", double(h), padding=1)
                )
            place += 1
    return conv("out.2", F.silu(norm("out.0", h)), padding=1)


def outputs(prediction):
    """All channels that a denoiser's network gave, (B, C or 2C, H, W)."""
    parts = [prediction.output, prediction.variance_weight]
    return torch.cat([part for part in parts if part is not None], 1)
