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

import torch
from runs import ROOT
from torch import Tensor

sys.path.insert(0, str(ROOT / "src"))

from sdg.data.portraits import Portraits  # noqa: E402
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


def factors_after(denoiser, images: Tensor, strength: float, reader: PortraitReader) -> Tensor:
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


def main(images: int = 256, pairs: int = 160) -> None:
    denoiser = load_denoiser(ROOT / "weights/portraits/denoiser.safetensors").eval()
    reader = PortraitReader()
    schedule, sampler = denoiser.schedule, DDIM(STEPS)
    levels = [steps_taken(schedule, sampler, strength)[0][0] for strength in STRENGTHS]
    common = Portraits(2000, 1, cache=ROOT / "data/portraits")
    rare = Portraits(500, 2, cache=ROOT / "data/portraits", combinations=True)
    header = [cells("t", levels), "|" + "---|" * (1 + len(levels))]
    kept = {}
    for name, data, count in (("common", common, images), ("rare", rare, pairs)):
        batch = data.__getitems__(list(range(count)))
        truth = reader.infer(batch["image"]).factors
        after = [factors_after(denoiser, batch["image"], s, reader) for s in STRENGTHS]
        kept[name] = (torch.stack(after, 2) == truth[..., None]), truth
        print(f"{name}: drawn", file=sys.stderr, flush=True)
    right, truth = kept["common"]
    print("\n".join(header))
    for place, factor in enumerate(reader.factors):
        there = truth[:, place] >= 0
        shares = right[there, place].float().mean(0)
        print(cells(factor, [f"{share:.2f}" for share in shares]))
    right, _ = kept["rare"]
    places = [
        [list(reader.factors).index(factor) for factor in rare.prompt_factors(index)]
        for index in range(pairs)
    ]
    both = torch.stack([right[index, place].all(0) for index, place in enumerate(places)]).float()
    names = [shown_pair(rare, index) for index in range(pairs)]
    print()
    print("\n".join(header))
    for name in sorted(set(names)):
        rows = [index for index, other in enumerate(names) if other == name]
        print(cells(f"{name} ({len(rows)})", [f"{share:.2f}" for share in both[rows].mean(0)]))
    print(cells("all", [f"{share:.2f}" for share in both.mean(0)]))


if __name__ == "__main__":
    options = dict(argument.split("=") for argument in sys.argv[1:])
    main(**{name: int(value) for name, value in options.items()})
