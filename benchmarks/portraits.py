"""The portraits' table of figures.

It says how much of its prompt a sample shows, and how near it stays to real images.

Prompts are captions of held-out images, and of held-out combinations; every figure is read by
rendering.

    python benchmarks/portraits.py FOLDER [prompts=64] [each=8] [only=four,one,…] [methods=…]

A run that lies in FOLDER already is not drawn again; the table is printed and written to
FOLDER/table.md.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from runs import ROOT, folder_and_options, sample

SETTINGS = {"data": "portraits"}
NAMED = {
    "four": {"named": 4},
    "one": {"named": 1},
    "all": {"named": "all"},
    "combinations": {"data__split": "combinations"},
}
NEGATIVES = {
    "similarity__text__negative_captions": "held_out"
}  # as the calibrated encoder has by default
METHODS = {
    "noise-aware": {},
    "contrastive encoder": {
        "encoder__weights": "weights/portraits/clip_contrastive.safetensors",
        **NEGATIVES,
    },
    "clean encoder": {"encoder": "clip", **NEGATIVES},
    "unguided": {"guidance__gamma": 0},
}
COLUMNS = (
    "named",
    "guided by",
    "all shown",
    "95 %",
    "all read",
    "residual",
    "Fréchet, same prompts",
    "÷ real",
    "s",
)


def row(named: str, method: str, figures: Mapping) -> str:
    low, high = figures["shows_interval"]
    frechet, real = (figures.get(f"frechet_imagenet_prompts{suffix}") for suffix in ("", "_real"))
    cells = [
        named,
        method,
        f"**{figures['shows']:.2f}**",
        f"{low:.2f}–{high:.2f}",
        f"{figures['alignment']['all']:.2f}",
        f"{figures['residual']:.4f}",
        "" if frechet is None else f"{frechet:.1f}",
        "" if frechet is None else f"{frechet / real:.2f}",
        f"{figures['seconds_per_sample']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(folder: Path, prompts: int, each: int, only: str, methods: str) -> None:
    size = {"num_samples": prompts * each, "samples_per_prompt": each}
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    chosen = only.split(",") if only else list(NAMED)
    if unknown := set(chosen) - set(NAMED):
        sys.exit(f"error: only={only}: {', '.join(unknown)} is none of {', '.join(NAMED)}.")
    compared = methods.split(",") if methods else list(METHODS)
    if unknown := set(compared) - set(METHODS):
        sys.exit(f"error: methods={methods}: {', '.join(unknown)} is none of {', '.join(METHODS)}.")
    for named in chosen:
        for method in compared:
            options = METHODS[method]
            weights = options.get("encoder__weights")
            if weights and not (ROOT / weights).is_file():
                print(f"{method}: left out, there is no {weights}")
                continue
            place = folder / f"{named}-{method.replace(' ', '-')}"
            figures = sample(place, **SETTINGS, **NAMED[named], **size, **options)
            lines.append(row(named, method, figures))
            print(lines[-1], flush=True)
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    print(f"results: {folder / 'table.md'}")


if __name__ == "__main__":
    defaults = {"prompts": 64, "each": 8, "only": "", "methods": ""}
    folder, options = folder_and_options(__doc__, defaults)
    main(folder, **options)
