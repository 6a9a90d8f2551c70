"""EDM2's U-Net written from the paper (Karras et al. 2024), as functions of a state dict.

Every layer normalises its weights each time, as the paper does in training.
"""

import math
from typing import NamedTuple

import karras
import torch
import torch.nn.functional as F


class Net(NamedTuple):
    side: int
    channels: int  # model channels
    multipliers: tuple = (1, 2, 3, 4)
    blocks: int = 3
    attention: tuple = (16, 8)
    image: int = 3
    classes: int = 1000


def plan(net: Net) -> tuple[list, list]:
    """(encoder, decoder), each [(name, inside, outside, attention)] in order."""
    widths = [net.channels * times for times in net.multipliers]
    halves = karras.plan(
        *(net.side, widths[0], widths, net.blocks, net.attention.__contains__),
        lambda side, j: side in net.attention,
    )
    encoder, decoder = (
        [(f"{half}.{name}", *rest) for name, *rest in modules]
        for half, modules in zip(("enc", "dec"), halves, strict=True)
    )
    return encoder, decoder


def shapes(net: Net) -> dict[str, tuple]:
    """Every tensor's name and shape, those that sampling does not need too."""
    first, embedding = net.channels * net.multipliers[0], net.channels * max(net.multipliers)
    found = {
        "unet.out_gain": (),
        "unet.emb_fourier.freqs": (first,),
        "unet.emb_fourier.phases": (first,),
        "unet.emb_noise.weight": (embedding, first),
        f"unet.enc.{net.side}x{net.side}_conv.weight": (first, net.image + 1, 3, 3),
        "unet.out_conv.weight": (net.image, first, 3, 3),
        "logvar_fourier.freqs": (128,),
        "logvar_fourier.phases": (128,),
        "logvar_linear.weight": (1, 128),
    }
    if net.classes:
        found["unet.emb_label.weight"] = (embedding, net.classes)
    encoder, decoder = plan(net)
    for name, inside, outside, attention in encoder + decoder:
        at = f"unet.{name}"
        found[f"{at}.emb_gain"] = ()
        entering = outside if name.startswith("enc") else inside
        found[f"{at}.conv_res0.weight"] = (outside, entering, 3, 3)
        found[f"{at}.emb_linear.weight"] = (outside, embedding)
        found[f"{at}.conv_res1.weight"] = (outside, outside, 3, 3)
        if inside != outside:
            found[f"{at}.conv_skip.weight"] = (outside, inside, 1, 1)
        if attention:
            found[f"{at}.attn_qkv.weight"] = (3 * outside, outside, 1, 1)
            found[f"{at}.attn_proj.weight"] = (outside, outside, 1, 1)
    return found


def forward(net: Net, p: dict, x, told, y=None):
    """F(x; told) of the paper, (B, image, H, W), for told (B,) and classes y (B,)."""
    p = {name.removeprefix("unet."): value for name, value in p.items()}

    def magnitude(h, dims):
        return h.square().mean(dims, keepdim=True).sqrt() + 1e-4

    def layer(name, h, gain=1.0):
        w = p[f"{name}.weight"]
        rest = tuple(range(1, w.ndim))
        w = w / magnitude(w, rest) * gain / math.sqrt(w[0].numel())
        return h @ w.T if w.ndim == 2 else F.conv2d(h, w, padding=w.shape[-1] // 2)

    def silu(h):
        return h * torch.sigmoid(h) / 0.596

    def mixed(a, b, t):
        return ((1 - t) * a + t * b) / math.sqrt((1 - t) ** 2 + t**2)

    def attention(at, h):
        b, c, height, width = h.shape
        qkv = layer(f"{at}.attn_qkv", h).view(b, c // 64, 64, 3, height * width)
        qkv = qkv / magnitude(qkv, 2)
        q, k, v = qkv[:, :, :, 0], qkv[:, :, :, 1], qkv[:, :, :, 2]
        weights = (q.mT @ k / 8).softmax(-1)
        return layer(f"{at}.attn_proj", (v @ weights.mT).reshape(h.shape))

    def block(at, h, attentive):
        if at.endswith("_down"):
            h = (h[..., ::2, ::2] + h[..., 1::2, ::2] + h[..., ::2, 1::2] + h[..., 1::2, 1::2]) / 4
        if at.endswith("_up"):
            h = h.repeat_interleave(2, 2).repeat_interleave(2, 3)
        skipped = layer(f"{at}.conv_skip", h) if f"{at}.conv_skip.weight" in p else h
        if at.startswith("enc"):
            skipped = h = skipped / magnitude(skipped, 1)
        u = layer(f"{at}.conv_res0", silu(h))
        told = layer(f"{at}.emb_linear", emb, p[f"{at}.emb_gain"]) + 1
        u = layer(f"{at}.conv_res1", silu(u * told[:, :, None, None]))
        h = mixed(skipped, u, 0.3)
        return (mixed(h, attention(at, h), 0.3) if attentive else h).clip(-256, 256)

    angles = told[:, None] * p["emb_fourier.freqs"] + p["emb_fourier.phases"]
    emb = layer("emb_noise", math.sqrt(2) * angles.cos())
    if net.classes:
        one_hot = torch.eye(net.classes, dtype=x.dtype)[y] * math.sqrt(net.classes)
        emb = mixed(emb, layer("emb_label", one_hot), 0.5)
    emb = silu(emb)
    encoder, decoder = plan(net)
    h = layer(f"enc.{net.side}x{net.side}_conv", torch.cat([x, torch.ones_like(x[:, :1])], 1))
    kept = [h]
    for name, _, _, attentive in encoder:
        h = block(name, h, attentive)
        kept.append(h)
    for name, _, _, attentive in decoder:
        if "_block" in name:
            old = kept.pop()
            total = math.sqrt((h.shape[1] + old.shape[1]) / 0.5) / 2
            scaled = [part * total / math.sqrt(part.shape[1]) for part in (h, old)]
            h = torch.cat(scaled, 1)
        h = block(name, h, attentive)
    return layer("out_conv", h, p["out_gain"])
