"""One noise-aware encoder, trained on DDPM's noise, steers denoisers of every process.

    python benchmarks/one_encoder.py FOLDER [ddpm=FILE] [edm=FILE] [flow=FILE] [prompts=64]
                                     [each=2]

The denoisers are of the portraits, such as `benchmarks/gpu.sh processes` trains; the encoder is the
shipped one. Prompts are captions of held-out portraits. γ is the best of several on other prompts:
the least residual of those whose share of samples that show their prompt is within 5 points of the
highest. Samples are read by rendering: `residual` is what is left of the picture.

A run that lies in FOLDER already is not drawn again; the table is printed and written to
FOLDER/one_encoder.md, beside FOLDER/one_encoder.png: the first sample of every eighth prompt.
"""

import csv
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
from runs import folder_and_options, guided_and_unguided, within

GAMMAS = (5, 10, 20)
SHOWN = 8  # prompts in the picture
MEASURED = {"eval__imagenet": False, "eval__clip": "null"}
COLUMNS = (
    "process",
    "γ",
    "shows its prompt",
    "95 %",
    "residual",
    "unguided: residual",
    "s a sample",
)


def main(folder: Path, denoisers: Mapping[str, Path], prompts: int, each: int) -> None:
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    size = {"num_samples": prompts * each, "samples_per_prompt": each}
    for name, denoiser in denoisers.items():
        own = {**MEASURED, "denoiser__weights": denoiser}
        place = within(folder, name)
        gamma, guided, plain = guided_and_unguided(place, GAMMAS, size, **own)
        low, high = guided["shows_interval"]
        cells = [
            name,
            f"{gamma:g}",
            f"{guided['shows']:.2f} (unguided {plain['shows']:.2f})",
            f"{low:.2f} … {high:.2f}",
            f"{guided['residual']:.4f}",
            f"{plain['residual']:.4f}",
            f"{guided['seconds_per_sample']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
        (folder / "one_encoder.md").write_text("\n".join(lines) + "\n")
    show({name: within(folder, name) for name in denoisers}, folder / "one_encoder.png", each)
    print(f"results: {folder / 'one_encoder.md'}")


def show(places: Mapping[str, Path], file: Path, each: int) -> None:
    """Draws a row of samples for each run, the same prompts below one another."""
    figure, axes = plt.subplots(
        len(places), SHOWN, figsize=(1.4 * SHOWN, 1.35 * len(places) + 0.8), squeeze=False
    )
    for number, (name, place) in enumerate(places.items()):
        line = axes[number]
        with open(place / "samples.csv", newline="", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
        apart = max(1, len(rows) // each // SHOWN) * each
        for axis, row in zip(line, rows[::apart], strict=False):
            axis.imshow(plt.imread(place / row["file"]), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if number == 0:
                axis.set_title(textwrap.fill(row["prompt"], 22), fontsize=7)
        line[0].set_ylabel(name)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    defaults = {"ddpm": "", "edm": "", "flow": "", "prompts": 64, "each": 2}
    folder, options = folder_and_options(__doc__, defaults)
    prompts, each = options.pop("prompts"), options.pop("each")
    files = {name: Path(file).resolve() for name, file in options.items() if file}
    if not files:
        sys.exit(__doc__)
    main(folder, files, prompts, each)
