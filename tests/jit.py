"""JiT's transformer written from the paper (Li & He 2025), as functions of a state dict."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F


class Net(NamedTuple):
    side: int
    patch: int
    width: int
    depth: int
    heads: int
    start: int  # the block that class tokens join before
    context: int = 32
    bottleneck: int = 128
    classes: int = 1000

    @property
    def hidden(self):
        return 8 * self.width // 3


def shapes(net: Net) -> dict[str, tuple]:
    """Every tensor's name and shape."""
    w, found = net.width, {}

    def linear(name, inside, outside):
        found[f"{name}.weight"], found[f"{name}.bias"] = (outside, inside), (outside,)

    found["pos_embed"] = (1, (net.side // net.patch) ** 2, w)
    found["in_context_posemb"] = (1, net.context, w)
    linear("t_embedder.mlp.0", 256, w)
    linear("t_embedder.mlp.2", w, w)
    found["y_embedder.embedding_table.weight"] = (net.classes + 1, w)
    found["x_embedder.proj1.weight"] = (net.bottleneck, 3, net.patch, net.patch)
    found["x_embedder.proj2.weight"] = (w, net.bottleneck, 1, 1)
    found["x_embedder.proj2.bias"] = (w,)
    for i in range(net.depth):
        found[f"blocks.{i}.norm1.weight"] = found[f"blocks.{i}.norm2.weight"] = (w,)
        for name in ("q_norm", "k_norm"):
            found[f"blocks.{i}.attn.{name}.weight"] = (w // net.heads,)
        linear(f"blocks.{i}.attn.qkv", w, 3 * w)
        linear(f"blocks.{i}.attn.proj", w, w)
        linear(f"blocks.{i}.mlp.w12", w, 2 * net.hidden)
        linear(f"blocks.{i}.mlp.w3", net.hidden, w)
        linear(f"blocks.{i}.adaLN_modulation.1", w, 6 * w)
    found["final_layer.norm_final.weight"] = (w,)
    linear("final_layer.linear", w, 3 * net.patch**2)
    linear("final_layer.adaLN_modulation.1", w, 2 * w)
    return {f"net.{name}": shape for name, shape in found.items()}


def forward(net: Net, p: dict, z, t, y):
    """x̂_0, (B, 3, H, W), for z (B, 3, H, W), t (B,) and classes y (B,)."""
    p = {name.removeprefix("net."): value for name, value in p.items()}
    d, n, head = net.patch, net.side // net.patch, net.width // net.heads

    def linear(name, h):
        return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def norm(name, h):
        return h / (h.square().mean(-1, keepdim=True) + 1e-6).sqrt() * p[f"{name}.weight"]

    def turned(h, tokens):
        """Pairs of channels as complex numbers, times e^{i angle} of their row or column."""
        quarter = head // 4
        rates = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
        places = torch.arange(n * n)
        angle = torch.cat([(places // n)[:, None] * rates, (places % n)[:, None] * rates], 1)
        angle = torch.cat([torch.zeros(tokens - n * n, 2 * quarter), angle])
        pairs = torch.complex(h[..., ::2], h[..., 1::2]) * torch.exp(1j * angle)
        return torch.stack([pairs.real, pairs.imag], -1).flatten(-2)

    def attention(at, h):
        q, k, v = linear(f"{at}.qkv", h).chunk(3, -1)
        heads = []
        for part in torch.arange(net.width).chunk(net.heads):
            query = turned(norm(f"{at}.q_norm", q[..., part]), h.shape[1])
            key = turned(norm(f"{at}.k_norm", k[..., part]), h.shape[1])
            heads.append((query @ key.mT / math.sqrt(head)).softmax(-1) @ v[..., part])
        return linear(f"{at}.proj", torch.cat(heads, -1))

    def modulated(h, shift, scale):
        return h * (1 + scale[:, None]) + shift[:, None]

    angles = t[:, None] * 10000.0 ** (-torch.arange(128, dtype=torch.float64) / 128)
    c = F.silu(linear("t_embedder.mlp.0", torch.cat([angles.cos(), angles.sin()], 1)))
    of_class = p["y_embedder.embedding_table.weight"][y]
    c = F.silu(linear("t_embedder.mlp.2", c) + of_class)

    squares = z.unfold(2, d, d).unfold(3, d, d).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    h = squares @ p["x_embedder.proj1.weight"].flatten(1).T
    h = h @ p["x_embedder.proj2.weight"].flatten(1).T + p["x_embedder.proj2.bias"] + p["pos_embed"]
    for i in range(net.depth):
        b = f"blocks.{i}"
        if i == net.start:
            h = torch.cat([p["in_context_posemb"] + of_class[:, None], h], 1)
        shift, scale, gate, shift2, scale2, gate2 = linear(f"{b}.adaLN_modulation.1", c).chunk(6, 1)
        u = attention(f"{b}.attn", modulated(norm(f"{b}.norm1", h), shift, scale))
        h = h + gate[:, None] * u
        u = linear(f"{b}.mlp.w12", modulated(norm(f"{b}.norm2", h), shift2, scale2))
        u = linear(f"{b}.mlp.w3", F.silu(u[..., : net.hidden]) * u[..., net.hidden :])
        h = h + gate2[:, None] * u
    shift, scale = linear("final_layer.adaLN_modulation.1", c).chunk(2, 1)
    h = modulated(norm("final_layer.norm_final", h[:, net.context :]), shift, scale)
    squares = linear("final_layer.linear", h).view(len(z), n, n, d, d, 3)
    return squares.permute(0, 5, 1, 3, 2, 4).reshape(len(z), 3, net.side, net.side)
