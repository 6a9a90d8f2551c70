"""How few steps are enough: alignment and fidelity of every sampler over its number of steps, and the fewest within 5 points of DDPM's most.

    python benchmarks/steps.py FOLDER [prompts=32] [samples of each=16] [most steps=1000]
"""

import sys
from pathlib import Path

from methods import sample

STEPS = (10, 25, 50, 100, 250, 1000)
SAMPLERS = ("ddpm", "ddim", "dpm_solver")
WITHIN = 0.05


def main(folder: str, prompts: int = 32, each: int = 16, most: int = 1000) -> None:
    folder = Path(folder).resolve()
    found = {}
    table = ["| sampler | steps | all four | 95 % interval | Fréchet (judge) | kernel distance | diversity | s |", "|---" * 8 + "|"]
    for steps in (n for n in STEPS if n <= most):
        for sampler in SAMPLERS:
            m = found[sampler, steps] = sample(folder / f"{sampler}-{steps}", sampler=sampler, sampler__steps=steps, num_samples=prompts * each, samples_per_prompt=each)
            low, high = m["alignment_all_interval"]
            table.append(f"| {sampler} | {steps} | {m['alignment']['all']:.2f} | {low:.2f}–{high:.2f} | {m['frechet_judge']:.1f} | "
                         f"{m['kernel_judge'][0]:.2f} | {m['diversity_judge']:.2f} | {m['seconds_per_sample']:.2f} |")
            print(table[-1], flush=True)
    target = found["ddpm", max(n for _, n in found)]["alignment"]["all"] - WITHIN
    enough = [(steps, sampler) for (sampler, steps), m in found.items() if m["alignment_all_interval"][0] >= target]
    table.append("\nThe fewest steps whose interval starts within 5 points of the longest DDPM run: " + (f"{min(enough)[0]}, {min(enough)[1]}." if enough else "none."))
    (folder / "steps.md").write_text("\n".join(table) + "\n")
    print(table[-1], f"\nresults: {folder}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
