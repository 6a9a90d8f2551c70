"""Semantic guidance against every training-free method at equal FLOPs per sample.

Each has the same number of tuning trials.

A method's number of steps is the one at which its sample costs what a sample of `guidance=sdg`
does. Its γ and its form (samplers, for the paper's step where the gradient is taken) are the best
of ten trials on captions that the comparison does not use; a γ at the end of its row is marked *.

    python benchmarks/methods.py FOLDER [steps=50] [prompts=32] [each=64]

`steps` are those of `guidance=sdg`, `each` the samples of each prompt.
"""

from pathlib import Path

from runs import TUNING, folder_and_options, sample, within

ROWS = {  # guidance, and γ from weak to strong; the same number for each
    "sdg": ("sdg", (5, 10, 20, 50, 100)),
    "sdg, the paper's step": ("sdg", (10, 20, 50, 100, 200)),
    "dps": ("dps", (10, 20, 50, 100, 200)),
    "lgd": ("lgd", (50, 100, 200, 500, 1000)),
    "freedom": ("freedom", (0.02, 0.06, 0.2, 0.6, 1.8)),
    "universal": ("universal", (2, 5, 10, 20, 50)),
    "mpgd": ("mpgd", (1, 2, 5, 10, 20)),
    "tfg": ("tfg", (1, 2, 5, 10, 20)),
}
# For a method that moves x̂_0, DDIM with η = 1 is DDPM.
SCORED = {"ddim, η = 0": {"sampler": "ddim"}, "ddim, η = 1": {"sampler": "ddim", "sampler__eta": 1}}
STEPPED = {
    "ddpm, at the mean": {"sampler": "ddpm"},
    "ddpm, at x_t": {"sampler": "ddpm", "guidance__gradient_at": "x_t"},
}
FACTORS = ("shape", "colour", "pattern", "background")


def affordable_steps(folder: Path, method: str, budget: float, **options) -> int:
    """Steps at which a sample costs at most `budget` FLOPs.

    They follow from the costs of two short runs, which differ by guided steps only.
    """
    few, more = (
        sample(
            folder / f"{method}-cost-{steps}",
            guidance=method,
            sampler__steps=steps,
            num_samples=1,
            **options,
        )["cost_per_sample"]["flops"]
        for steps in (3, 13)
    )
    return max(2, int(13 + (budget - more) / ((more - few) / 10)))


def worth(m: dict) -> tuple[float, float]:
    """All factors right; between equals, the mean of each."""
    return m["alignment"]["all"], sum(m["alignment"][factor] for factor in FACTORS)


def main(folder: Path, steps: int, prompts: int, each: int) -> None:
    budget = sample(folder / "budget", sampler__steps=steps, num_samples=1)["cost_per_sample"][
        "flops"
    ]
    table = [
        "| method | form | steps | γ | shape | colour | pattern | background | all | 95 % interval "
        "| kernel distance | diversity | GFLOPs | s | peak MB |",
        "|---" * 15 + "|",
    ]

    def add(row: str, form: str, n: int, gamma: str, m: dict) -> None:
        shares = " | ".join(f"{m['alignment'][f]:.2f}" for f in (*FACTORS, "all"))
        low, high = m["alignment_all_interval"]
        kernel = (
            f"{m['kernel_judge'][0]:.3f} ± {m['kernel_judge'][1]:.3f}" if m["kernel_judge"] else ""
        )
        cost = m["cost_per_sample"]
        table.append(
            f"| {row} | {form} | {n} | {gamma} | {shares} | {low:.2f}–{high:.2f} | {kernel} | "
            f"{m['diversity_judge']:.2f} | {cost['flops'] / 1e9:.0f} | "
            f"{m['seconds_per_sample']:.2f} | {cost['peak_memory'] / 1e6:.0f} |"
        )
        print(table[-1], flush=True)

    chosen = {}
    for row, (method, gammas) in ROWS.items():
        n, forms = affordable_steps(folder, method, budget), STEPPED if "step" in row else SCORED
        trials = {
            (form, gamma): sample(
                within(folder, f"tune-{row}-{form}-{gamma}"),
                guidance=method,
                sampler__steps=n,
                guidance__gamma=gamma,
                num_samples=64,
                samples_per_prompt=2,
                **options,
                **TUNING,
            )
            for form, options in forms.items()
            for gamma in gammas
        }
        form, gamma = max(trials, key=lambda trial: worth(trials[trial]))
        print(
            f"{row}: {n} steps, {form}, γ = {gamma}: {trials[form, gamma]['alignment']['all']:.2f}",
            flush=True,
        )
        chosen[row] = (
            form,
            gamma,
            n,
            {"guidance": method, "sampler__steps": n, "guidance__gamma": gamma} | forms[form],
        )
    for row, (form, gamma, n, options) in chosen.items():
        m = sample(
            within(folder, row), num_samples=prompts * each, samples_per_prompt=each, **options
        )
        add(
            row, form, n, f"{gamma}{'*' if gamma in (ROWS[row][1][0], ROWS[row][1][-1]) else ''}", m
        )
    m = sample(
        folder / "unguided",
        sampler="ddim",
        sampler__steps=steps,
        guidance__gamma=0,
        num_samples=prompts * each,
        samples_per_prompt=each,
    )
    add("unguided", "ddim, η = 0", steps, "0", m)
    if m["kernel_judge_real"]:
        table.append(
            "\nReal images of the same prompts have the kernel distance "
            f"{m['kernel_judge_real'][0]:.3f}."
        )
    (folder / "methods.md").write_text("\n".join(table) + "\n")
    print(table[-1], f"\nresults: {folder}")


if __name__ == "__main__":
    folder, options = folder_and_options(__doc__, {"steps": 50, "prompts": 32, "each": 64})
    main(folder, **options)
