"""GLIDE's noised CLIP written from the papers, as functions of its two state dicts.

Nichol et al. 2021 (arXiv 2112.10741) and Radford et al. 2021 (arXiv 2103.00020); its byte-pair
encoding merges pairs in the order of the vocabulary's file.
"""

import gzip
import re
from pathlib import Path
from typing import NamedTuple

import open_clip
import torch
import torch.nn.functional as F
from foreign import random_tensors

HEAD = 64
VOCABULARY = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")


class Net(NamedTuple):
    side: int = 32
    patch: int = 4
    width: int = 128  # of the image's transformer
    depth: int = 2
    text_width: int = 64
    embedding: int = 16
    levels: int = 1000
    tokens: int = 49408
    context: int = 77


FULL = Net(64, 4, 768, 12, 512, 512, 1000, 65536)


def block_shapes(width: int, depth: int) -> dict[str, tuple]:
    found = {}
    for i in range(depth):
        for part in ("f_attn", "f_mlp"):
            found |= {f"blocks.block_{i}.{part}.ln.{name}": (width,) for name in "gb"}
        for name in ("f_q", "f_k", "f_v", "f_c"):
            found[f"blocks.block_{i}.f_attn.{name}.w"] = (width, width)
            if name != "f_k":
                found[f"blocks.block_{i}.f_attn.{name}.b"] = (width,)
        for name, (inside, outside) in {
            "f_1": (width, 4 * width),
            "f_2": (4 * width, width),
        }.items():
            found[f"blocks.block_{i}.f_mlp.{name}.w"] = (outside, inside)
            found[f"blocks.block_{i}.f_mlp.{name}.b"] = (outside,)
    found |= {f"blocks.output.ln.{name}": (width,) for name in "gb"}
    return found


def image_shapes(net: Net) -> dict[str, tuple]:
    return {
        "blocks.input.w_t": (net.levels, net.width),
        "blocks.input.patch_proj": (net.width, 3, net.patch, net.patch),
        "blocks.input.w_pos": (1 + (net.side // net.patch) ** 2, net.width),
        "blocks.input.ln.g": (net.width,),
        "blocks.input.ln.b": (net.width,),
        **block_shapes(net.width, net.depth),
        "blocks.output.f.w": (net.embedding, net.width),
    }


def text_shapes(net: Net) -> dict[str, tuple]:
    return {
        "blocks.input.w_voc": (net.tokens, net.text_width),
        "blocks.input.w_pos": (net.context, net.text_width),
        **block_shapes(net.text_width, net.depth),
        "blocks.output.f.w": (net.embedding, net.text_width),
    }


def random_weights(shapes: dict, seed: int, dtype=torch.float64) -> dict[str, torch.Tensor]:
    tensors = random_tensors(shapes, seed, dtype)
    return {name: value + 1 if name.endswith("ln.g") else value for name, value in tensors.items()}


def save_pair(folder: Path, net: Net, ending: str = "pt") -> tuple[Path, Path]:
    """Both files, in float32, under the published names."""
    places = []
    for seed, (name, shapes) in enumerate(
        (("clip_image_enc", image_shapes(net)), ("clip_text_enc", text_shapes(net)))
    ):
        places.append(folder / f"{name}.{ending}")
        torch.save(random_weights(shapes, seed, torch.float32), places[-1])
    return places[0], places[1]


def norm(p, name, h):
    centred = h - h.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return centred / deviation * p[f"{name}.g"] + p[f"{name}.b"]


def blocks(p, h, depth, allowed):
    """The residual blocks; `allowed` (N, N) says which token sees which."""
    for i in range(depth):
        at, mlp = f"blocks.block_{i}.f_attn", f"blocks.block_{i}.f_mlp"
        u = norm(p, f"{at}.ln", h)
        q = u @ p[f"{at}.f_q.w"].T + p[f"{at}.f_q.b"]
        k = u @ p[f"{at}.f_k.w"].T
        v = u @ p[f"{at}.f_v.w"].T + p[f"{at}.f_v.b"]
        heads = []
        for part in torch.arange(h.shape[-1]).split(HEAD):
            scores = torch.einsum("bid,bjd->bij", q[..., part], k[..., part]) / HEAD**0.5
            odds = scores.exp() * allowed
            heads.append(odds / odds.sum(-1, keepdim=True) @ v[..., part])
        h = h + torch.cat(heads, -1) @ p[f"{at}.f_c.w"].T + p[f"{at}.f_c.b"]
        u = norm(p, f"{mlp}.ln", h) @ p[f"{mlp}.f_1.w"].T + p[f"{mlp}.f_1.b"]
        u = u * (1 + torch.erf(u / 2**0.5)) / 2
        h = h + u @ p[f"{mlp}.f_2.w"].T + p[f"{mlp}.f_2.b"]
    return h


def embed_image(net: Net, p: dict, x, t):
    """z, (B, D), of images x in [-1, 1] before noise at whole levels t."""
    mean = torch.tensor([122.77093945, 116.74601272, 104.09373519], dtype=x.dtype).view(3, 1, 1)
    deviation = torch.tensor([68.50053285, 66.63215831, 70.32316309], dtype=x.dtype).view(3, 1, 1)
    seen, d = ((x + 1) * 127.5 - mean) / deviation, net.patch
    squares = seen.unfold(2, d, d).unfold(3, d, d).permute(0, 2, 3, 1, 4, 5)
    patches = squares.flatten(3).flatten(1, 2) @ p["blocks.input.patch_proj"].flatten(1).T
    h = torch.cat([p["blocks.input.w_t"][t][:, None], patches], 1) + p["blocks.input.w_pos"]
    h = norm(p, "blocks.input.ln", h)
    h = blocks(p, h, net.depth, torch.ones(h.shape[1], h.shape[1], dtype=x.dtype))
    return norm(p, "blocks.output.ln", h[:, 0]) @ p["blocks.output.f.w"].T


def embed_text(net: Net, p: dict, rows: list[list[int]]):
    """z, (N, D), of rows of tokens, without padding."""
    found = []
    for row in rows:
        h = p["blocks.input.w_voc"][row] + p["blocks.input.w_pos"][: len(row)]
        causal = torch.ones(len(row), len(row), dtype=h.dtype).tril()
        h = blocks(p, h[None], net.depth, causal)[0, -1]
        found.append(norm(p, "blocks.output.ln", h) @ p["blocks.output.f.w"].T)
    return F.normalize(torch.stack(found), dim=-1)


def tokens(sentence: str, context: int = 77) -> list[int]:
    """Start, at most context − 2 tokens, end: every merge of the file in its order."""
    merges = gzip.open(VOCABULARY, "rt", encoding="utf-8").read().split("\n")[1:48895]
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    letters = dict(zip(plain, map(chr, plain), strict=True))
    others = (b for b in range(256) if b not in letters)
    letters |= {b: chr(256 + i) for i, b in enumerate(others)}
    symbols = [*letters.values(), *(f"{letter}</w>" for letter in letters.values())]
    symbols += [merge.replace(" ", "") for merge in merges]
    number = {symbol: i for i, symbol in enumerate(symbols)}
    words = []
    pattern = r"'(?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|(?:[^\s\w]|_)+"
    for word in re.findall(pattern, " ".join(sentence.lower().split())):
        word = [letters[b] for b in word.encode()]
        words.append([*word[:-1], f"{word[-1]}</w>"])
    for merge in merges:
        first, second = merge.split()
        for word in words:
            i = 0
            while first in word[i:-1]:
                i = word.index(first, i)
                if word[i + 1] == second:
                    word[i : i + 2] = [first + second]
                i += 1
    found = [number[symbol] for word in words for symbol in word]
    return [len(symbols), *found[: context - 2], len(symbols) + 1]
