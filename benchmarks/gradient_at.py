"""Where the gradient is best taken, on a coarse grid and on a fine one.

The places are the mean, the mean with the mean's own level, and x_t.

All by the paper's step x_s = μ + Σγ∇sim + Σ^½ z with DDPM's own Σ; beside them the score form, DDIM
with DDPM's noise. Each has its own γ, the best of `GAMMAS` on captions that no figure is reported
on; one at the end of its row is marked *.

    python benchmarks/gradient_at.py FOLDER [prompts=32] [each=16]
"""

from pathlib import Path

from runs import TUNING, folder_and_options, sample, within

PLACES = {
    place: {"guidance__gradient_at": place} for place in ("mean", "mean_own_level", "x_t")
} | {"score form": {"sampler": "ddim", "sampler__eta": 1}}
STEPS = (10, 25, 100)
GAMMAS = (1, 2, 5, 10, 20, 50, 100)


def main(folder: Path, prompts: int, each: int) -> None:
    table = [
        "| gradient at | steps | γ | all four | 95 % interval | Fréchet (judge) | diversity |",
        "|---" * 7 + "|",
    ]
    for steps in STEPS:
        for place, options in PLACES.items():
            trials = {
                gamma: sample(
                    within(folder, f"{place}-{steps}-tune-{gamma}"),
                    sampler__steps=steps,
                    guidance__gamma=gamma,
                    num_samples=64,
                    samples_per_prompt=2,
                    **options,
                    **TUNING,
                )["alignment"]["all"]
                for gamma in GAMMAS
            }
            gamma = max(trials, key=trials.get)
            m = sample(
                within(folder, f"{place}-{steps}"),
                sampler__steps=steps,
                guidance__gamma=gamma,
                num_samples=prompts * each,
                samples_per_prompt=each,
                **options,
            )
            low, high = m["alignment_all_interval"]
            table.append(
                f"| {place} | {steps} | {gamma}{'*' if gamma in (GAMMAS[0], GAMMAS[-1]) else ''} | "
                f"{m['alignment']['all']:.2f} | {low:.2f}–{high:.2f} | "
                f"{m['frechet_judge']:.1f} | {m['diversity_judge']:.2f} |"
            )
            print(table[-1], flush=True)
    (folder / "gradient_at.md").write_text("\n".join(table) + "\n")
    print(f"results: {folder}")


if __name__ == "__main__":
    folder, options = folder_and_options(__doc__, {"prompts": 32, "each": 16})
    main(folder, **options)
