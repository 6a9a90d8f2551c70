"""v-diffusion's U-Nets as functions of a state dict, and its process."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F


class Net(NamedTuple):
    side: int
    widths: tuple
    blocks: int
    attention: tuple  # levels
    ported: bool = False  # from JAX: log SNR, no norm, heads of 128, nearest, skip first
    last_relu: bool = False


def walk(net: Net):
    """(place, what, inside, middle, outside) of every module in order; `close` ends a level."""

    def level(at, k):
        width, deepest = net.widths[k], k + 1 == len(net.widths)
        above = net.widths[k - 1] if k else 3
        place = 0
        if k:
            yield f"{at}.0", "halve", 0, 0, 0
            place = 1
        inside = net.widths[k - 1] if k else 19
        for half in (0, 1):
            for i in range(net.blocks):
                outside = above if half and i == net.blocks - 1 else width
                yield f"{at}.{place}", "block", inside, width, outside
                place, inside = place + 1, width
                if k in net.attention:
                    yield f"{at}.{place}", "attention", 0, 0, outside
                    place += 1
            if not half and not deepest:
                yield f"{at}.{place}", "open", 0, 0, 0
                yield from level(f"{at}.{place}.main", k + 1)
                yield f"{at}.{place}", "close", 0, 0, 0
                place, inside = place + 1, 2 * width
        if k:
            yield f"{at}.{place}", "double", 0, 0, 0

    return level("net", 0)


def shapes(net: Net) -> dict[str, tuple]:
    """Every tensor's name and shape."""
    found = {"timestep_embed.weight": (8, 1)}

    def conv(name, inside, outside, side):
        found[f"{name}.weight"], found[f"{name}.bias"] = (outside, inside, side, side), (outside,)

    for at, what, inside, middle, outside in walk(net):
        if what == "block":
            conv(f"{at}.main.0", inside, middle, 3)
            conv(f"{at}.main.2", middle, outside, 3)
            if inside != outside:
                found[f"{at}.skip.weight"] = (outside, inside, 1, 1)
        elif what == "attention":
            conv(f"{at}.qkv_proj", outside, 3 * outside, 1)
            conv(f"{at}.out_proj", outside, outside, 1)
            if not net.ported:
                found[f"{at}.norm.weight"] = found[f"{at}.norm.bias"] = (outside,)
    return found


def forward(net: Net, p: dict, x, time):
    """v, (B, 3, H, W), for x (B, 3, H, W) and what it is given of the noise, (B,)."""
    angles = 2 * math.pi * time[:, None] * p["timestep_embed.weight"][:, 0]
    planes = torch.cat([angles.cos(), angles.sin()], 1)[:, :, None, None]
    h, kept = torch.cat([x, planes.expand(-1, -1, net.side, net.side)], 1), []
    last = [at for at, what, *_ in walk(net) if what == "block"][-1]

    def conv(name, h, side=3):
        return F.conv2d(h, p[f"{name}.weight"], p[f"{name}.bias"], padding=side // 2)

    for at, what, *_ in walk(net):
        if what == "block":
            u = conv(f"{at}.main.2", conv(f"{at}.main.0", h).clamp(min=0))
            u = u if at == last and not net.last_relu else u.clamp(min=0)
            skip = f"{at}.skip.weight"
            h = u + (torch.einsum("bihw,oi->bohw", h, p[skip][:, :, 0, 0]) if skip in p else h)
        elif what == "attention":
            h = h + attention(net, p, at, h)
        elif what == "halve":
            h = h.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
        elif what == "double" and net.ported:
            h = h.repeat_interleave(2, 2).repeat_interleave(2, 3)
        elif what == "double":
            h = doubled(doubled(h, 2), 3)
        elif what == "open":
            kept.append(h)
        else:
            both = [h, kept.pop()]
            h = torch.cat(both[::-1] if net.ported else both, 1)
    return h


def doubled(h, dim):
    """Along one side: new places a quarter off the old ones, by straight lines, edges repeated."""
    n = h.shape[dim]
    places = (torch.arange(2 * n, dtype=h.dtype) + 0.5) / 2 - 0.5
    low = places.floor()
    share = (places - low).view([-1 if d == dim else 1 for d in range(4)])
    below, above = low.long().clamp(0, n - 1), (low.long() + 1).clamp(0, n - 1)
    return h.index_select(dim, below) * (1 - share) + h.index_select(dim, above) * share


def attention(net, p, at, h):
    """q of all heads, then k, then v."""
    b, c, *size = h.shape
    if not net.ported:
        flat = h.flatten(1)
        flat = (flat - flat.mean(1, keepdim=True)) / (
            flat.var(1, keepdim=True, correction=0) + 1e-5
        ).sqrt()
        weight, bias = (p[f"{at}.norm.{part}"][:, None, None] for part in ("weight", "bias"))
        h = flat.view_as(h) * weight + bias
    qkv = torch.einsum("bihw,oi->bohw", h, p[f"{at}.qkv_proj.weight"][:, :, 0, 0])
    qkv = (qkv + p[f"{at}.qkv_proj.bias"][:, None, None]).flatten(2)
    head, parts = 128 if net.ported else 64, []
    for i in range(0, c, head):
        q, k, v = (qkv[:, start + i : start + i + head] for start in (0, c, 2 * c))
        weights = (q.mT @ k / math.sqrt(head)).softmax(-1)
        parts.append(v @ weights.mT)
    out = torch.cat(parts, 1).view(b, c, *size)
    out = torch.einsum("bihw,oi->bohw", out, p[f"{at}.out_proj.weight"][:, :, 0, 0])
    return out + p[f"{at}.out_proj.bias"][:, None, None]


def of_ddpm(u: float) -> float:
    """φ of the schedule of DDPM in continuous time: log SNR = −log(e^{10⁻⁴ + 10 u²} − 1)."""
    log_snr = -math.log(math.expm1(1e-4 + 10 * u**2))
    return math.atan(math.exp(-log_snr / 2)) * 2 / math.pi


def published_time(u: float, ported: bool) -> float:
    """φ at u of the published grids, which u goes through evenly from 1 to 0."""
    if ported:
        return of_ddpm(u)
    ddpm, cosine = 0.48536712, 0.80074257
    w = u * (1 + cosine - ddpm)
    return w if w < cosine else of_ddpm(w + ddpm - cosine)


def given_time(net: Net, phi: float) -> float:
    """What the network is given of φ."""
    alpha, sigma = math.cos(math.pi * phi / 2), math.sin(math.pi * phi / 2)
    return math.log(alpha**2 / sigma**2) if net.ported else phi
