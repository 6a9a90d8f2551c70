"""EDM's two U-Nets written from the paper (Karras et al. 2022), as functions of a state dict."""

import math
from typing import NamedTuple

import karras
import torch
import torch.nn.functional as F


class Net(NamedTuple):
    side: int
    channels: int  # model channels
    multipliers: tuple
    blocks: int
    attention: tuple
    song: bool = True
    ncsn: bool = False  # Fourier features, residual encoder, filters of 4 taps
    classes: int = 0
    augmented: bool = True


def plan(net: Net) -> tuple[list, list]:
    """(encoder, decoder), each [(name, inside, outside, attention)] in order."""
    widths = [net.channels * m for m in net.multipliers]
    first = net.channels if net.song else widths[0]

    def attends_up(side, j):
        return side in net.attention and (not net.song or j == net.blocks)

    encoder, decoder = karras.plan(
        *(net.side, first, widths, net.blocks, net.attention.__contains__, attends_up),
        residual=net.ncsn,
    )
    return [(f"{net.side}x{net.side}_conv", 3, first, False), *encoder], decoder


def shapes(net: Net) -> dict[str, tuple]:
    """Every tensor's name and shape."""
    found, taps = {}, (1, 1, 4, 4) if net.ncsn else (1, 1, 2, 2)
    embedding, noise = 4 * net.channels, net.channels * (2 if net.ncsn else 1)

    def affine(name, *shape):
        found[f"model.{name}.weight"], found[f"model.{name}.bias"] = shape, shape[:1]

    if net.ncsn:
        found["model.map_noise.freqs"] = (noise // 2,)
    if net.classes and net.song:
        affine("map_label", noise, net.classes)
    elif net.classes:
        found["model.map_label.weight"] = (embedding, net.classes)
    if net.augmented:
        found["model.map_augment.weight"] = (noise, 9)
    affine("map_layer0", embedding, noise)
    affine("map_layer1", embedding, embedding)
    for part, modules in zip(("enc", "dec"), plan(net), strict=True):
        for name, inside, outside, attention in modules:
            at = f"{part}.{name}"
            changes = name.endswith(("_down", "_up"))
            if name.endswith(("_conv", "_aux_residual")):
                affine(at, outside, inside, 3, 3)
                if name.endswith("_aux_residual"):
                    found[f"model.{at}.resample_filter"] = taps
                continue
            affine(f"{at}.norm0", inside)
            affine(f"{at}.conv0", outside, inside, 3, 3)
            affine(f"{at}.affine", outside * (1 if net.song else 2), embedding)
            affine(f"{at}.norm1", outside)
            affine(f"{at}.conv1", outside, outside, 3, 3)
            if inside != outside or changes and net.song:
                affine(f"{at}.skip", outside, inside, 1, 1)
            if changes:
                found[f"model.{at}.conv0.resample_filter"] = taps
                found[f"model.{at}.skip.resample_filter"] = taps
            if attention:
                affine(f"{at}.norm2", outside)
                affine(f"{at}.qkv", 3 * outside, outside, 1, 1)
                affine(f"{at}.proj", outside, outside, 1, 1)
    width = net.channels * net.multipliers[0]
    top = f"dec.{net.side}x{net.side}" if net.song else ""
    affine(f"{top}_aux_norm" if net.song else "out_norm", width)
    affine(f"{top}_aux_conv" if net.song else "out_conv", 3, width, 3, 3)
    return found


def forward(net: Net, p: dict, x, told, y=None):
    """F(x; told) of the paper, (B, 3, H, W), for told (B,) and classes y (B,)."""
    p = {name.removeprefix("model."): value for name, value in p.items()}
    line = torch.tensor([1.0, 3.0, 3.0, 1.0] if net.ncsn else [1.0, 1.0], dtype=x.dtype)
    line = line / line.sum()
    small = 1e-6 if net.song else 1e-5

    def conv(name, h):
        weight = p[f"{name}.weight"]
        return F.conv2d(h, weight, p[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def linear(name, h):
        return h @ p[f"{name}.weight"].T + p.get(f"{name}.bias", 0)

    def norm(name, h):
        groups = min(32, h.shape[1] // 4)
        return F.group_norm(h, groups, p[f"{name}.weight"], p[f"{name}.bias"], small)

    def halved(h, border):
        """Every second place of a separable filter's output."""
        h = F.pad(h, (border,) * 4)
        for dim in (2, 3):
            h = (h.unfold(dim, len(line), 2) * line).sum(-1)
        return h

    def doubled(h):
        """Zeros between the places, then the same filter, twice as strong along each side."""
        wide = h.new_zeros(*h.shape[:2], 2 * h.shape[2], 2 * h.shape[3])
        wide[:, :, ::2, ::2] = h
        n = len(line)
        wide = F.pad(wide, (n // 2, n // 2 - 1) * 2)
        for dim in (2, 3):
            wide = (wide.unfold(dim, n, 1) * (2 * line)).sum(-1)
        return wide

    def block(at, h, attention):
        change = {"down": lambda u: halved(u, len(line) // 2 - 1), "up": doubled}.get(
            at.rsplit("_", 1)[-1], lambda u: u
        )
        u = conv(f"{at}.conv0", change(F.silu(norm(f"{at}.norm0", h))))
        e = linear(f"{at}.affine", emb)[:, :, None, None]
        if net.song:
            u = norm(f"{at}.norm1", u + e)
        else:
            scale, shift = e.chunk(2, 1)
            u = norm(f"{at}.norm1", u) * (1 + scale) + shift
        u = conv(f"{at}.conv1", F.silu(u))
        h = change(h)
        h = u + (conv(f"{at}.skip", h) if f"{at}.skip.weight" in p else h)
        h = h / math.sqrt(2) if net.song else h
        if not attention:
            return h
        b, c, *size = h.shape
        heads = 1 if net.song else c // 64
        qkv = conv(f"{at}.qkv", norm(f"{at}.norm2", h)).reshape(b * heads, c // heads, 3, -1)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        weights = (q.mT @ k / math.sqrt(c // heads)).softmax(-1)
        h = h + conv(f"{at}.proj", (v @ weights.mT).reshape(b, c, *size))
        return h / math.sqrt(2) if net.song else h

    half = net.channels * (2 if net.ncsn else 1) // 2
    if net.ncsn:
        rates = 2 * math.pi * p["map_noise.freqs"]
    else:
        steps = torch.arange(half, dtype=torch.float64) / (half - 1 if net.song else half)
        rates = 10000.0**-steps
    waves = [(told[:, None] * rates).sin(), (told[:, None] * rates).cos()]
    emb = torch.cat(waves if net.song else waves[::-1], 1)
    classes = torch.eye(net.classes or 1, dtype=x.dtype)[y] if net.classes else None
    if net.classes and net.song:
        emb = emb + linear("map_label", classes * math.sqrt(net.classes))
    emb = linear("map_layer1", F.silu(linear("map_layer0", emb)))
    if net.classes and not net.song:
        emb = emb + linear("map_label", classes)
    emb = F.silu(emb)

    encoder, decoder = plan(net)
    image, kept = x, []
    for name, _, _, attention in encoder:
        if name.endswith("_conv"):
            x = conv(f"enc.{name}", x)
        elif name.endswith("_aux_residual"):
            image = F.conv2d(
                image,
                p[f"enc.{name}.weight"],
                p[f"enc.{name}.bias"],
                padding=1 + len(line) // 2 - 1,
            )
            image = x = (x + halved(image, 0)) / math.sqrt(2)
            kept.pop()
        else:
            x = block(f"enc.{name}", x, attention)
        kept.append(x)
    for name, _, _, attention in decoder:
        x = torch.cat([x, kept.pop()], 1) if "_block" in name else x
        x = block(f"dec.{name}", x, attention)
    top = f"dec.{net.side}x{net.side}"
    x = F.silu(norm(f"{top}_aux_norm" if net.song else "out_norm", x))
    return conv(f"{top}_aux_conv" if net.song else "out_conv", x)
