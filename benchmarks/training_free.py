"""Portraits: the noise-aware encoder against the training-free methods, at equal FLOPs a sample.

`sdg` has its default settings, 40 DDPM steps. Every other method takes as many steps as the same
FLOPs allow, as a score with DDPM's noise. Its γ and its grid of steps are the best on other
captions, of three γ and two grids, and of further γ as long as the best lies at an end of the row.

    python benchmarks/training_free.py FOLDER [prompts=64] [each=2] [tuning=32] [only=dps,…]

A run that lies in FOLDER already is not drawn again; the table is FOLDER/training_free.md.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path

from methods import affordable_steps
from runs import TUNING, folder_and_options, sample, within

GAMMAS = {
    "dps": (2, 5, 15),
    "lgd": (15, 50, 150),
    "freedom": (0.1, 0.3, 1.0),
    "universal": (2, 5, 15),
    "mpgd": (1, 3, 10),
    "tfg": (1, 3, 10),
}
SETTINGS = {"data": "portraits", "named": 4}
SCORE_FORM = {"sampler": "ddim", "sampler__eta": 1}
NEGATIVES = {"similarity__text__negative_captions": "held_out"}  # the same captions as for `sdg`
SPACINGS = ("linspace", "towards_noise")
COLUMNS = (
    "method",
    "steps",
    "grid",
    "γ",
    "all shown",
    "95 %",
    "all read",
    "residual",
    "GFLOPs",
    "s",
)


def row(method: str, steps: int, spacing: str, gamma: str, figures: Mapping) -> str:
    low, high = figures["shows_interval"]
    cells = [
        f"`{method}`",
        str(steps),
        f"`{spacing}`",
        gamma,
        f"**{figures['shows']:.2f}**",
        f"{low:.2f}–{high:.2f}",
        f"{figures['alignment']['all']:.2f}",
        f"{figures['residual']:.4f}",
        f"{figures['cost_per_sample']['flops'] / 1e9:.0f}",
        f"{figures['seconds_per_sample']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def worth(figures: Mapping) -> tuple[float, float]:
    """What shows; between equals, what is read."""
    return figures["shows"], figures["alignment"]["all"]


def best_setting(
    folder: Path, method: str, steps: int, prompts: int, common: Mapping
) -> tuple[float, str]:
    """γ and the grid of steps that show most on other captions.

    While the best γ is the least or the greatest that was tried, a third or three times it is tried
    too.
    """
    gammas, trials = list(GAMMAS[method]), {}
    few = {"num_samples": prompts, "samples_per_prompt": 1, **TUNING}
    while True:
        for gamma, spacing in itertools.product(gammas, SPACINGS):
            if (gamma, spacing) in trials:
                continue
            place = within(folder, f"tune-{method}-{spacing}-{gamma:g}")
            settings = {
                "guidance__gamma": gamma,
                "sampler__steps": steps,
                "sampler__spacing": spacing,
            }
            trials[gamma, spacing] = sample(place, **common, **settings, **few)
        best = max(trials, key=lambda setting: worth(trials[setting]))
        if best[0] == gammas[-1]:
            gammas.append(3 * gammas[-1])
        elif best[0] == gammas[0]:
            gammas.insert(0, gammas[0] / 3)
        else:
            return best


def main(folder: Path, prompts: int, each: int, tuning: int, only: str) -> None:
    size = {"num_samples": prompts * each, "samples_per_prompt": each}
    ours = sample(folder / "sdg", **SETTINGS, **size)
    own_steps = int(ours["cost_per_sample"]["denoiser_forwards"])
    budget = ours["cost_per_sample"]["flops"]
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines.append(row("sdg", own_steps, "towards_noise", f"{ours['gamma']:g}", ours))
    print("\n".join(lines), flush=True)
    for method in only.split(",") if only else GAMMAS:
        common = {**SETTINGS, **SCORE_FORM, **NEGATIVES, "guidance": method}
        steps = affordable_steps(folder, method, budget, **SETTINGS, **SCORE_FORM, **NEGATIVES)
        gamma, spacing = best_setting(folder, method, steps, tuning, common)
        settings = {
            "guidance__gamma": gamma,
            "sampler__steps": steps,
            "sampler__spacing": spacing,
        }
        figures = sample(folder / method, **common, **settings, **size)
        lines.append(row(method, steps, spacing, f"{gamma:g}", figures))
        print(lines[-1], flush=True)
    (folder / "training_free.md").write_text("\n".join(lines) + "\n")
    print(f"results: {folder / 'training_free.md'}")


if __name__ == "__main__":
    defaults = {"prompts": 64, "each": 2, "tuning": 32, "only": ""}
    folder, options = folder_and_options(__doc__, defaults)
    main(folder, **options)
