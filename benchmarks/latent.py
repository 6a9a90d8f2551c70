"""A world of latents against one of pixels: what steers, what it costs, and what comes of it.

    python benchmarks/latent.py FOLDER autoencoder=FOLDER denoiser=FOLDER encoder=FOLDER
                                [prompts=64] [each=2]

The autoencoder, the denoiser of its latents and the noise-aware encoder of those are of the
portraits, such as the three trainings of docs/other-models.md leave; the world of pixels is the
shipped one. Rows:

pixels, noise-aware   the shipped encoder on x_t
pixels, DPS           the clean CLIP on x̂_0, through the denoiser
latents, noise-aware  an encoder of noisy latents on z_t; no decoder in the loop
latents, DPS          the clean CLIP on D(ẑ_0), through decoder and denoiser

The first rows have the portraits' steps. The others have as many as take the seconds a sample of
the first row.

Prompts are captions of held-out portraits. γ is chosen on other prompts, by what is read. Samples
are read by rendering: `read` counts those in which all that is named is found, `shows` of these
the ones that are also clean, and `residual` is what is left of the picture. An autoencoder's blur
counts against the last two. Times are of this machine, one row after
another. Memory is the most that the run's process held, interpreter and libraries with it.

A run that lies in FOLDER already is not drawn again; the table is printed and written to
FOLDER/latent.md, beside FOLDER/latent.png: the first samples of some prompts.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from one_encoder import show
from runs import folder_and_options, guided_and_unguided, read_share, within

CLEAN = {"encoder": "clip", "guidance": "dps"}
MEASURED = {"eval__imagenet": False, "eval__clip": "null"}
NOISY_GAMMAS, CLEAN_GAMMAS = (5, 10, 20), (10, 20, 50, 100, 200)
STEPS = 40  # of the portraits' settings
COLUMNS = (
    "steered by",
    "steps",
    "γ",
    "read",
    "95 %",
    "shows its prompt",
    "residual",
    "unguided: residual",
    "s a sample",
    "peak GiB",
)


def rows(parts: Mapping[str, Path]) -> dict[str, tuple[dict[str, Any], tuple[float, ...]]]:
    """{row: (its settings, γ to choose from)}."""
    latents = {
        "denoiser__weights": parts["denoiser"],
        "denoiser__autoencoder": parts["autoencoder"],
    }
    noisy = {**latents, "encoder__weights": parts["encoder"]}
    return {
        "pixels, noise-aware": ({}, NOISY_GAMMAS),
        "pixels, DPS": (CLEAN, CLEAN_GAMMAS),
        "latents, noise-aware": (noisy, NOISY_GAMMAS),
        "latents, DPS": ({**latents, **CLEAN}, CLEAN_GAMMAS),
    }


def main(folder: Path, parts: Mapping[str, Path], prompts: int, each: int) -> None:
    table = Table(folder, {"num_samples": prompts * each, "samples_per_prompt": each})
    seconds = {name: table.add(name, *row) for name, row in rows(parts).items()}
    show({name: within(folder, name) for name in rows(parts)}, folder / "latent.png", each)
    first, *others = seconds
    for name in others:
        settings, gammas = rows(parts)[name]
        steps = round(STEPS * seconds[first] / seconds[name])
        table.add(f"{name}, {steps} steps", {**settings, "sampler__steps": steps}, gammas)
    print(f"results: {table.file}")


class Table:
    """The table, which grows by a row and is written each time.

    Arguments:
        folder: where it and the runs are.
        size: how many samples a run has.
    """

    def __init__(self, folder: Path, size: Mapping[str, int]):
        self.folder, self.size, self.file = folder, size, folder / "latent.md"
        self.lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]

    def add(self, name: str, settings: Mapping[str, Any], gammas: tuple[float, ...]) -> float:
        """A row, of runs with settings and the best γ of some; its seconds a sample."""
        own = {**settings, **MEASURED}
        place = within(self.folder, name)
        gamma, guided, plain = guided_and_unguided(place, gammas, self.size, read_share, **own)
        low, high = guided["alignment_all_interval"]
        seconds: float = guided["seconds_per_sample"]
        cells = [
            name,
            str(settings.get("sampler__steps", STEPS)),
            f"{gamma:g}",
            f"{read_share(guided):.2f} (unguided {read_share(plain):.2f})",
            f"{low:.2f} … {high:.2f}",
            f"{guided['shows']:.2f}",
            f"{guided['residual']:.4f}",
            f"{plain['residual']:.4f}",
            f"{seconds:.2f}",
            f"{guided['cost_per_sample']['peak_memory'] / 2**30:.2f}",
        ]
        self.lines.append(f"| {' | '.join(cells)} |")
        print(self.lines[-1], flush=True)
        self.file.write_text("\n".join(self.lines) + "\n")
        return seconds


if __name__ == "__main__":
    defaults = {"autoencoder": "", "denoiser": "", "encoder": "", "prompts": 64, "each": 2}
    folder, options = folder_and_options(__doc__, defaults)
    prompts, each = options.pop("prompts"), options.pop("each")
    if not all(options.values()):
        sys.exit(__doc__)
    main(folder, {name: Path(file).resolve() for name, file in options.items()}, prompts, each)
