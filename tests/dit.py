"""DiT's and SiT's transformer written from the papers, as functions of a state dict."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F


class Net(NamedTuple):
    side: int
    channels: int
    outputs: int
    patch: int
    width: int
    depth: int
    heads: int
    classes: int


def shapes(net: Net) -> dict[str, tuple]:
    """Every tensor's name and shape."""
    w, found = net.width, {}

    def linear(name, inside, outside):
        found[f"{name}.weight"], found[f"{name}.bias"] = (outside, inside), (outside,)

    found["pos_embed"] = (1, (net.side // net.patch) ** 2, w)
    found["x_embedder.proj.weight"] = (w, net.channels, net.patch, net.patch)
    found["x_embedder.proj.bias"] = (w,)
    linear("t_embedder.mlp.0", 256, w)
    linear("t_embedder.mlp.2", w, w)
    found["y_embedder.embedding_table.weight"] = (net.classes + 1, w)
    for i in range(net.depth):
        linear(f"blocks.{i}.attn.qkv", w, 3 * w)
        linear(f"blocks.{i}.attn.proj", w, w)
        linear(f"blocks.{i}.mlp.fc1", w, 4 * w)
        linear(f"blocks.{i}.mlp.fc2", 4 * w, w)
        linear(f"blocks.{i}.adaLN_modulation.1", w, 6 * w)
    linear("final_layer.linear", w, net.patch**2 * net.outputs)
    linear("final_layer.adaLN_modulation.1", w, 2 * w)
    return found


def forward(net: Net, p: dict, x, t, y):
    """(B, outputs, H, W) for x (B, channels, H, W), t (B,) and classes y (B,)."""
    d, n = net.patch, net.side // net.patch

    def linear(name, h):
        return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def norm(h, shift, scale):
        centred = h - h.mean(-1, keepdim=True)
        h = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return h * (1 + scale[:, None]) + shift[:, None]

    def attention(name, h):
        q, k, v = linear(f"{name}.qkv", h).chunk(3, -1)
        heads = []
        for part in torch.arange(net.width).chunk(net.heads):
            scores = q[..., part] @ k[..., part].mT / math.sqrt(len(part))
            heads.append(scores.softmax(-1) @ v[..., part])
        return linear(f"{name}.proj", torch.cat(heads, -1))

    def gelu(h):
        return 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))

    angles = t.double()[:, None] * 10000.0 ** (-torch.arange(128, dtype=torch.float64) / 128)
    c = F.silu(linear("t_embedder.mlp.0", torch.cat([angles.cos(), angles.sin()], 1)))
    c = F.silu(linear("t_embedder.mlp.2", c) + p["y_embedder.embedding_table.weight"][y])

    squares = x.unfold(2, d, d).unfold(3, d, d).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    h = squares @ p["x_embedder.proj.weight"].flatten(1).T + p["x_embedder.proj.bias"]
    h = h + p["pos_embed"]
    for i in range(net.depth):
        b = f"blocks.{i}"
        shift, scale, gate, shift2, scale2, gate2 = linear(f"{b}.adaLN_modulation.1", c).chunk(6, 1)
        h = h + gate[:, None] * attention(f"{b}.attn", norm(h, shift, scale))
        hidden = gelu(linear(f"{b}.mlp.fc1", norm(h, shift2, scale2)))
        h = h + gate2[:, None] * linear(f"{b}.mlp.fc2", hidden)
    shift, scale = linear("final_layer.adaLN_modulation.1", c).chunk(2, 1)
    out = linear("final_layer.linear", norm(h, shift, scale))
    image = x.new_empty(len(x), net.outputs, net.side, net.side)
    for token in range(n * n):
        top, left = d * (token // n), d * (token % n)
        square = out[:, token].view(len(x), d, d, net.outputs).permute(0, 3, 1, 2)
        image[:, :, top : top + d, left : left + d] = square
    return image
