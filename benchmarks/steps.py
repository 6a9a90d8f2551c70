"""How few steps are enough?

This is alignment and fidelity of every sampler over its number of steps, and the fewest within 5
points of DDPM's most.

Samplers steer differently and long steps overshoot, so each has its own γ, the best of `GAMMAS` on
captions that no figure is reported on; beyond 100 steps, the one for 100. Within 5 points means:
the 95 % interval of the difference, prompt by prompt, starts above −0.05.

    python benchmarks/steps.py FOLDER [prompts=32] [each=16] [most=1000]

`each` are the samples of each prompt, fewer beyond 100 steps, but at least 4. `most` bounds the
number of steps.
"""

import csv
import sys
from pathlib import Path

import torch
from runs import ROOT, TUNING, folder_and_options, sample, within

sys.path.insert(0, str(ROOT / "src"))

from sdg.metrics.alignment import bootstrap_interval  # noqa: E402

STEPS = (10, 25, 50, 100, 250, 1000)
SAMPLERS = {
    "ddpm": {"sampler": "ddpm"},
    "ddim, η = 0": {"sampler": "ddim"},
    "ddim, η = 1": {"sampler": "ddim", "sampler__eta": 1},
    "dpm_solver": {"sampler": "dpm_solver"},
}
GAMMAS = (5, 10, 20, 50)
WITHIN = 0.05


def by_prompt(folder: Path) -> dict[str, float]:
    """The share of each prompt's samples on which all factors are right."""
    shares: dict[str, list[int]] = {}
    with open(folder / "samples.csv") as file:
        for row in csv.DictReader(file):
            shares.setdefault(row["prompt"], []).append(int(row["all"]))
    return {prompt: sum(values) / len(values) for prompt, values in shares.items()}


def main(folder: Path, prompts: int, each: int, most: int) -> None:
    table = [
        "| sampler | steps | γ | all four | 95 % interval | Fréchet (judge) | kernel distance | "
        "diversity | samples | s |",
        "|---" * 10 + "|",
    ]
    gammas, shares = {}, {}
    for steps in (n for n in STEPS if n <= most):
        for sampler in SAMPLERS:
            if steps <= 100:
                trials = {
                    gamma: sample(
                        within(folder, f"{sampler}-{steps}-tune-{gamma}"),
                        sampler__steps=steps,
                        guidance__gamma=gamma,
                        num_samples=64,
                        samples_per_prompt=2,
                        **SAMPLERS[sampler],
                        **TUNING,
                    )["alignment"]["all"]
                    for gamma in GAMMAS
                }
                gammas[sampler] = max(trials, key=trials.get)
            k = each if steps <= 100 else min(each, max(4, each * 100 // steps))
            run = within(folder, f"{sampler}-{steps}")
            m = sample(
                run,
                sampler__steps=steps,
                guidance__gamma=gammas[sampler],
                num_samples=prompts * k,
                samples_per_prompt=k,
                **SAMPLERS[sampler],
            )
            shares[steps, sampler] = by_prompt(run)
            low, high = m["alignment_all_interval"]
            kernel = f"{m['kernel_judge'][0]:.2f}" if m["kernel_judge"] else ""
            table.append(
                f"| {sampler} | {steps} | {gammas[sampler]} | {m['alignment']['all']:.2f} | "
                f"{low:.2f}–{high:.2f} | {m['frechet_judge']:.1f} | "
                f"{kernel} | {m['diversity_judge']:.2f} | {m['num_samples']} | "
                f"{m['seconds_per_sample']:.2f} |"
            )
            print(table[-1], flush=True)
    longest = shares[max(n for n, _ in shares), "ddpm"]
    enough = []
    for (steps, sampler), found in shares.items():
        difference = torch.tensor([found[prompt] - longest[prompt] for prompt in longest])
        low, _ = bootstrap_interval(difference, list(longest))
        if low >= -WITHIN:
            enough.append((steps, sampler, difference.mean().item(), low))
    fewest, sampler, gain, low = min(enough)
    table.append(
        f"\nThe fewest steps within 5 points of the longest DDPM run: {fewest}, {sampler} "
        f"(difference {gain:+.2f}, interval from {low:+.2f})."
    )
    (folder / "steps.md").write_text("\n".join(table) + "\n")
    print(table[-1], f"\nresults: {folder}")


if __name__ == "__main__":
    folder, options = folder_and_options(__doc__, {"prompts": 32, "each": 16, "most": 1000})
    main(folder, **options)
