"""When is what an image shows decided? How often noised images still show it, denoised again.

Real portraits are noised to a level t and denoised from there without guidance, by DDIM with the
last steps of a grid of 20, and read by rendering. What they still show was decided above t, and
guidance below t cannot change it without a fight. The first table holds held-out images, factor by
factor; the second holds pairs of values that no training image shows together: what the denoiser
keeps of them bounds what guidance above t can compose.

    python benchmarks/denoiser_keeps.py [images=256] [pairs=160]
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
from runs import ROOT, named_options
from torch import Tensor

sys.path.insert(0, str(ROOT / "src"))

from sdg.data.part_seed import part_seed  # noqa: E402
from sdg.data.portraits import Portraits  # noqa: E402
from sdg.diffusion.denoiser import Denoiser  # noqa: E402
from sdg.diffusion.noise import Noise  # noqa: E402
from sdg.diffusion.samplers import DDIM  # noqa: E402
from sdg.diffusion.sampling import sample, steps_taken  # noqa: E402
from sdg.metrics.portrait_reader import PortraitReader  # noqa: E402
from sdg.models.registry import load_denoiser  # noqa: E402

STEPS = 20
STRENGTHS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
BATCH = 64


def cells(first: str, others: Sequence[str | int]) -> str:
    return f"| {first} | " + " | ".join(map(str, others)) + " |"


class Kept(NamedTuple):
    """What images show, integers (N, factors), and whether they still do, (N, factors, starts)."""

    truth: Tensor
    right: Tensor


def two_places(shares: Tensor) -> list[str]:
    return [f"{share:.2f}" for share in shares]


def factors_after(
    denoiser: Denoiser, images: Tensor, strength: float, reader: PortraitReader
) -> Tensor:
    """What images show, noised and denoised again: (N, factors)."""
    sampler, drawn = DDIM(STEPS), []
    for first in range(0, len(images), BATCH):
        part = images[first : first + BATCH]
        noise = Noise(list(range(first, first + len(part))), part.shape[1:], part.device)
        drawn.append(sample(denoiser, sampler, noise, start=part, strength=strength))
    return reader.infer(torch.cat(drawn)).factors


def shown_pair(data: Portraits, index: int) -> str:
    """The two values of a held-out pair that an image shows, as a name."""
    names = list(data.attributes)
    return ", ".join(
        data.attributes[factor][data.factors[index, names.index(factor)]]
        for factor in data.prompt_factors(index)
    )


def kept(denoiser: Denoiser, data: Portraits, count: int, reader: PortraitReader) -> Kept:
    """Which values the first images still show, for every start."""
    images = data.__getitems__(list(range(count)))["image"]
    truth = reader.infer(images).factors
    after = [factors_after(denoiser, images, strength, reader) for strength in STRENGTHS]
    return Kept(truth, torch.stack(after, 2) == truth[..., None])


def factor_rows(found: Kept, names: Sequence[str]) -> list[str]:
    """A line for each factor: the share of images that have it and keep its value."""
    rows = []
    for place, factor in enumerate(names):
        there = found.truth[:, place] >= 0
        rows.append(cells(factor, two_places(found.right[there, place].float().mean(0))))
    return rows


def pair_rows(found: Kept, data: Portraits, names: Sequence[str]) -> list[str]:
    """A line for each held-out pair, and one for all: the share of images that keep both values."""
    both, groups = [], {}
    for index, right in enumerate(found.right):
        places = [names.index(factor) for factor in data.prompt_factors(index)]
        both.append(right[places].all(0).float())
        groups.setdefault(shown_pair(data, index), []).append(index)
    shares = torch.stack(both)
    rows = []
    for name, members in sorted(groups.items()):
        rows.append(cells(f"{name} ({len(members)})", two_places(shares[members].mean(0))))
    return [*rows, cells("all", two_places(shares.mean(0)))]


def main(images: int, pairs: int) -> None:
    denoiser = load_denoiser(ROOT / "weights/portraits/denoiser.safetensors").eval()
    reader = PortraitReader()
    names = list(reader.factors)
    starts = [steps_taken(denoiser.schedule, DDIM(STEPS), strength)[0] for strength in STRENGTHS]
    header = [cells("t", [t for t, _ in starts]), "|" + "---|" * (1 + len(starts))]
    common = Portraits(2000, part_seed(0, "held_out"), cache=ROOT / "data/portraits")
    found = kept(denoiser, common, images, reader)
    print("\n".join([*header, *factor_rows(found, names), ""]), flush=True)
    seed = part_seed(0, "combinations")
    rare = Portraits(500, seed, cache=ROOT / "data/portraits", combinations=True)
    found = kept(denoiser, rare, pairs, reader)
    print("\n".join([*header, *pair_rows(found, rare, names)]))


if __name__ == "__main__":
    main(**named_options(sys.argv[1:], {"images": 256, "pairs": 160}))
