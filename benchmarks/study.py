"""The central experiment: `make study` writes docs/study.md with its figures and pictures.

Every cell is 32 held-out prompts × 4 samples. The settings of each method are those that
`benchmarks/methods.py` and `benchmarks/steps.py` chose on other captions.

    python benchmarks/study.py FOLDER [prompts=32] [each=4]
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from runs import ROOT, folder_and_options

sys.path.insert(0, str(ROOT / "src"))

from sdg.app.jobs import Jobs  # noqa: E402

DOCS = ROOT / "docs" / "study.md"
FACTORS = ("shape", "colour", "pattern", "background")


class Study:
    """Sweeps, and the text that they add up to."""

    def __init__(self, folder: Path, prompts: int, each: int):
        self.folder, self.size = (
            folder,
            ["data=shapes", f"num_samples={prompts * each}", f"samples_per_prompt={each}"],
        )
        self.pictures = DOCS.parent / "study"
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.text = [
            f"# Guidance, measured\n\n`make study` wrote this page. Each row: {prompts} held-out "
            "prompts that name shape, colour, pattern and background, "
            f"{each} samples each; the judge never guides. Intervals are 95 %, by bootstrap over "
            "prompts; kernel distance and diversity are in the judge's features; FLOPs and "
            "seconds are of one sample, "
            "memory is the run's at its highest, on a CPU the whole process's.\n"
        ]

    def sweep(self, name: str, *overrides: str) -> list[tuple[dict, dict]]:
        """The jobs of a sweep and their figures; what was drawn before is not drawn again."""
        folder = self.folder / name
        done = subprocess.run(
            [
                sys.executable,
                "sample.py",
                "-m",
                *self.size,
                *overrides,
                f"hydra.sweep.dir='{folder}'",
            ],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            sys.exit(done.stderr.strip().splitlines()[-1])
        return [
            (job, json.loads((job["path"] / "metrics.json").read_text()))
            for job in Jobs.jobs(folder)
        ]

    def table(self, rows: Sequence[tuple[str, Mapping]]) -> None:
        """A line for each row: (its name, its figures)."""
        self.text.append(
            "| | "
            + " | ".join(FACTORS)
            + " | all four | 95 % | kernel distance | diversity | GFLOPs | s | MB |\n|"
            + "---|" * 12
        )
        for name, m in rows:
            low, high = m["alignment_all_interval"]
            kernel = "{:.2f} ± {:.2f}".format(*m["kernel_judge"]) if m["kernel_judge"] else ""
            self.text.append(
                f"| {name} | "
                + " | ".join(f"{m['alignment'][factor]:.2f}" for factor in FACTORS)
                + f" | **{m['alignment']['all']:.2f}** | {low:.2f}–{high:.2f} | {kernel} | "
                f"{m['diversity_judge']:.2f} | "
                f"{m['cost_per_sample']['flops'] / 1e9:.0f} | {m['seconds_per_sample']:.2f} | "
                f"{m['cost_per_sample']['peak_memory'] / 1e6:.0f} |"
            )
        self.text.append("")

    def say(self, text: str) -> None:
        self.text.append(text + "\n")

    def picture(self, sweep: str, file: str, words: str) -> None:
        """Takes a sweep's picture along."""
        kept = self.pictures / f"{sweep}_{file}"
        shutil.copy(self.folder / sweep / file, kept)
        self.text.append(f"![{words}](study/{kept.name})\n")

    def write(self) -> None:
        DOCS.write_text("\n".join(self.text))


def main(folder: Path, prompts: int, each: int) -> None:
    began, study = time.monotonic(), Study(folder, prompts, each)

    study.say(
        "## Strength\n\nOver γ, in the score form (`experiment=score`): the same seeds, guided by "
        "the noise-aware encoder and by the clean CLIP that it was made from."
    )
    gammas = "guidance.gamma=0,1,2,5,10,20,40"
    noisy, clean = (
        study.sweep("gamma", "experiment=score", gammas),
        study.sweep("gamma_clean", "experiment=score", "encoder=clip", gammas),
    )
    study.table(
        [(f"noise-aware, {job['name']}".replace("guidance.gamma=", "γ = "), m) for job, m in noisy]
        + [(f"clean, {job['name']}".replace("guidance.gamma=", "γ = "), m) for job, m in clean]
    )
    study.picture(
        "gamma", "curves.png", "Alignment, distance and diversity over γ, noise-aware encoder"
    )
    study.picture("gamma", "sweep.png", "The same seeds at seven strengths")
    study.picture("gamma_clean", "sweep.png", "The same seeds, guided by the clean encoder")

    study.say(
        "## Beside training-free guidance\n\nEach method at the FLOPs of 50 steps of "
        "`guidance=sdg`, with the settings that were best on other captions."
    )
    rows = [("sdg, 50 steps, γ = 20", next(m for job, m in noisy if job["name"].endswith("=20")))]
    for method, (steps, gamma, eta) in METHODS.items():
        ((_, m),) = study.sweep(
            f"method_{method}",
            f"guidance={method}",
            "sampler=ddim",
            f"sampler.eta={eta}",
            f"sampler.steps={steps}",
            f"guidance.gamma={gamma}",
        )
        rows.append((f"{method}, {steps} steps, γ = {gamma:g}", m))
    study.table(rows)

    study.say(
        "## Where the gradient is taken\n\nThe paper's step x_s = μ + Σγ∇sim + Σ^½ z with the "
        "gradient at μ, at μ with μ's own noise level, and at x_t, on a coarse "
        "grid and a finer one; beside them the score form. Each with the γ that was best on other "
        "captions."
    )
    rows = []
    for place, (settings, options) in GRADIENT.items():
        for number, gamma in settings.items():
            ((_, m),) = study.sweep(
                f"gradient_{place}_{number}".replace(" ", "_"),
                *options,
                f"sampler.steps={number}",
                f"guidance.gamma={gamma}",
            )
            rows.append((f"{place}, {number} steps, γ = {gamma}", m))
    study.table(rows)

    study.say(
        "## Number of steps\n\nWith the γ that was best for each sampler and number of steps on "
        "other captions."
    )
    rows = []
    for sampler, (settings, noise) in STEPS.items():
        for number, gamma in settings.items():
            ((_, m),) = study.sweep(
                f"steps_{sampler}_{number}".replace(" ", "_"),
                f"sampler={sampler.split()[0]}",
                f"sampler.steps={number}",
                f"guidance.gamma={gamma}",
                *noise,
            )
            rows.append((f"{sampler}, {number} steps, γ = {gamma}", m))
    study.table(rows)
    study.say(
        f"Written in {(time.monotonic() - began) / 60:.0f} minutes, less what an earlier start had "
        "drawn."
    )
    study.write()
    print(f"results: {DOCS}")


# As the other benchmarks found them. Guidance: (steps of equal FLOPs, γ, η).
METHODS = {
    "dps": (29, 50, 1),
    "lgd": (20, 500, 1),
    "freedom": (15, 0.6, 1),
    "universal": (10, 20, 1),
    "mpgd": (50, 10, 0),
    "tfg": (22, 10, 1),
}
STEPS = {
    "ddpm": ({50: 100, 100: 50}, []),
    "ddim": ({25: 20, 50: 10, 100: 10}, []),
    "ddim with noise": ({25: 20, 50: 20, 100: 20}, ["sampler.eta=1"]),
    "dpm_solver": ({25: 20, 100: 10}, []),
}  # {steps: γ}
GRADIENT = {
    "at the mean": ({25: 5, 100: 100}, []),
    "at the mean, with its own level": ({25: 5, 100: 1}, ["guidance.gradient_at=mean_own_level"]),
    "at the mean, with its own level, but for the noisiest tenth": (
        {25: 50, 100: 50},
        ["guidance.gradient_at=mean_own_level", "guidance.interval=[0,0.9]"],
    ),
    "at x_t": ({25: 10, 100: 20}, ["guidance.gradient_at=x_t"]),
    "score form": ({25: 20, 100: 20}, ["sampler=ddim", "sampler.eta=1"]),
}


if __name__ == "__main__":
    folder, options = folder_and_options(__doc__, {"prompts": 32, "each": 4})
    main(folder, **options)
