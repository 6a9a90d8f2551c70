"""How few calls of the networks keep what 100 steps of DDPM give?

Every recipe draws the same prompts, captions of held-out images, from the same seeds. Its γ is
the best of several on prompts that no figure is reported on: the least residual of those whose
share of samples that show their prompt is within 5 points of the highest. A recipe is enough
where the 95 % intervals of its differences to 100 steps of DDPM in float32, prompt by prompt,
reach 0: in the share that shows the prompt, and in the residual.

    python benchmarks/few_steps.py FOLDER [data=portraits] [prompts=64] [each=4] [tune=32]
                                   [spacing=NAME] [only="NAME;NAME"]

All steps have the spacing that the data's settings have, but where `spacing` names another; the
first row keeps its own. γ is chosen among twice as large ones for the shapes.

A run that lies in FOLDER already is not drawn again; the table is printed and written to
FOLDER/few_steps.md.
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from runs import ROOT, best_gamma, folder_and_options, sample, within

sys.path.insert(0, str(ROOT / "src"))

from sdg.metrics.alignment import bootstrap_interval  # noqa: E402

BASE = "DDPM, 100 steps, float32"
FLOAT32 = {"trainer__precision": "32-true"}
BF16 = {"trainer__precision": "bf16-mixed"}
GAMMA_SCALE = {"portraits": 1, "shapes": 2}
DDPM_GAMMAS = (7, 10, 14, 20)
SCORE_GAMMAS = (4, 7, 10, 14, 20)


def few(sampler: str, steps: int, **options: object) -> Mapping[str, object]:
    """The settings of a sampler of few steps."""
    return {"sampler": sampler, "sampler__steps": steps, **options, **BF16}


# {recipe: (its settings, the γ to choose from)}
RECIPES: Mapping[str, tuple[Mapping[str, object], Sequence[float]]] = {
    BASE: ({"sampler__steps": 100, **FLOAT32}, DDPM_GAMMAS),
    "DDPM, 100 steps": ({"sampler__steps": 100, **BF16}, DDPM_GAMMAS),
    "DDPM, 40 steps": ({"sampler__steps": 40, **BF16}, DDPM_GAMMAS),
    "DDPM, 30 steps": ({"sampler__steps": 30, **BF16}, DDPM_GAMMAS),
    "DDPM, 20 steps": ({"sampler__steps": 20, **BF16}, DDPM_GAMMAS),
    "DDPM, 15 steps": ({"sampler__steps": 15, **BF16}, DDPM_GAMMAS),
    **{f"DDIM, η = 0, {steps} steps": (few("ddim", steps), SCORE_GAMMAS) for steps in (15, 25)},
    **{
        f"DDIM, η = 1, {steps} steps": (few("ddim", steps, sampler__eta=1), SCORE_GAMMAS)
        for steps in (15, 20, 25)
    },
    **{
        f"DPM-Solver++, {steps} steps": (few("dpm_solver", steps), SCORE_GAMMAS)
        for steps in (15, 20, 25)
    },
    **{
        f"SDE-DPM-Solver++, {steps} steps": (
            few("dpm_solver", steps, sampler__eta=1),
            SCORE_GAMMAS,
        )
        for steps in (15, 20)
    },
    "SDE-DPM-Solver++ at the mean, 15 steps": (
        few("dpm_solver", 15, sampler__eta=1, guidance__gradient_at="mean"),
        DDPM_GAMMAS,
    ),
}
MEASURED = ("shows", "residual")
COLUMNS = (
    "recipe",
    "γ",
    "denoiser calls",
    "encoder calls",
    "shown",
    "difference, 95 %",
    "residual",
    "difference, 95 %",
    "s a sample",
    "of the base's",
    "enough",
)


def main(
    folder: Path, data: str, prompts: int, each: int, tune: int, spacing: str, only: str
) -> None:
    if data not in GAMMA_SCALE:
        sys.exit(f"error: data={data} is none of {', '.join(GAMMA_SCALE)}.")
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    names = only.split(";") if only else list(RECIPES)
    if unknown := set(names) - set(RECIPES):
        sys.exit(f"error: only={only}: {', '.join(unknown)} is none of {', '.join(RECIPES)}.")
    names = [BASE, *(name for name in names if name != BASE)]
    base: dict[str, dict[str, float]] = {}
    base_seconds = 0.0
    for name in names:
        settings, gammas = RECIPES[name]
        place = within(folder, name)
        own = {**settings, "eval__imagenet": False, "eval__clip": "null", "data": data}
        own["sampler__spacing"] = spacing if spacing and name != BASE else "${preset.spacing}"
        scaled = [GAMMA_SCALE[data] * gamma for gamma in gammas]
        gamma = best_gamma(place, scaled, tune, **own)
        size = {"num_samples": prompts * each, "samples_per_prompt": each}
        figures = sample(place, guidance__gamma=gamma, **own, **size)
        found = by_prompt(place)
        if name == BASE:
            base, base_seconds = found, figures["seconds_per_sample"]
        lines.append(row(name, gamma, figures, found, base, base_seconds))
        print(lines[-1], flush=True)
    (folder / "few_steps.md").write_text("\n".join(lines) + "\n")
    print(f"results: {folder / 'few_steps.md'}")


def by_prompt(folder: Path) -> dict[str, dict[str, float]]:
    """{figure: {prompt: its mean over the prompt's samples}}."""
    values: dict[str, dict[str, list[float]]] = {figure: {} for figure in MEASURED}
    with open(folder / "samples.csv", newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            for figure in MEASURED:
                values[figure].setdefault(line["prompt"], []).append(float(line[figure]))
    return {figure: means(each) for figure, each in values.items()}


def means(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {key: sum(each) / len(each) for key, each in values.items()}


def row(
    name: str,
    gamma: float,
    figures: Mapping,
    found: Mapping[str, Mapping[str, float]],
    base: Mapping[str, Mapping[str, float]],
    base_seconds: float,
) -> str:
    shown, residual = (difference(found[figure], base[figure]) for figure in MEASURED)
    cost = figures["cost_per_sample"]
    enough = shown[1] >= 0 and residual[0] <= 0
    cells = [
        name,
        f"{gamma:g}",
        f"{cost['denoiser_forwards']:g}",
        f"{cost['encoder_forwards']:g}",
        f"{figures['shows']:.2f}",
        "" if name == BASE else f"{shown[0]:+.2f} … {shown[1]:+.2f}",
        f"{figures['residual']:.4f}",
        "" if name == BASE else f"{residual[0]:+.4f} … {residual[1]:+.4f}",
        f"{figures['seconds_per_sample']:.2f}",
        f"{figures['seconds_per_sample'] / base_seconds:.3f}",
        "" if name == BASE else ("yes" if enough else "no"),
    ]
    return f"| {' | '.join(cells)} |"


def difference(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[float, float]:
    """The 95 % interval of the mean difference over prompts."""
    values = torch.tensor([ours[prompt] - theirs[prompt] for prompt in theirs])
    return bootstrap_interval(values, list(theirs))


if __name__ == "__main__":
    defaults = {
        "data": "portraits",
        "prompts": 64,
        "each": 4,
        "tune": 32,
        "spacing": "",
        "only": "",
    }
    folder, options = folder_and_options(__doc__, defaults)
    main(folder, **options)
