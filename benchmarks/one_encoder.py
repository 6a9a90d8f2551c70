"""One noise-aware encoder, trained on DDPM's noise, steers denoisers of every process.

    python benchmarks/one_encoder.py FOLDER ddpm=FILE edm=FILE flow=FILE [prompts=64] [each=2]

The denoisers are of the portraits, such as `benchmarks/gpu.sh processes` trains; the encoder is the
shipped one. Prompts are captions of held-out portraits. γ is the best of several on other prompts:
the least residual of those whose share of samples that show their prompt is within 5 points of the
highest. Samples are read by rendering: `residual` is what is left of the picture.

A run that lies in FOLDER already is not drawn again; the table is printed and written to
FOLDER/one_encoder.md.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from runs import TUNING, sample, within

GAMMAS = (5, 10, 20)
TUNE = 32  # prompts that γ is chosen on
WITHIN = 0.05
COLUMNS = (
    "process",
    "γ",
    "shows its prompt",
    "95 %",
    "residual",
    "unguided: residual",
    "s a sample",
)


def drawn(place: Path, denoiser: Path, gamma: float, **size: object) -> dict:
    """The figures of a run."""
    own = {"eval__imagenet": False, "eval__clip": "null", "guidance__gamma": gamma}
    return sample(place, "portraits", denoiser__weights=denoiser, **own, **size)


def chosen_gamma(folder: Path, name: str, denoiser: Path, gammas: Sequence[float]) -> float:
    """γ with the least residual among those that show prompts nearly as often as the best."""
    size = {"num_samples": TUNE, "samples_per_prompt": 1, **TUNING}
    runs = {
        gamma: drawn(within(folder, f"{name}-tune-{gamma}"), denoiser, gamma, **size)
        for gamma in gammas
    }
    best = max(figures["shows"] for figures in runs.values())
    near = {gamma: run for gamma, run in runs.items() if run["shows"] >= best - WITHIN}
    return min(near, key=lambda gamma: near[gamma]["residual"])


def main(folder: Path, denoisers: Mapping[str, Path], prompts: int, each: int) -> None:
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    size = {"num_samples": prompts * each, "samples_per_prompt": each}
    for name, denoiser in denoisers.items():
        gamma = chosen_gamma(folder, name, denoiser, GAMMAS)
        guided = drawn(within(folder, name), denoiser, gamma, **size)
        plain = drawn(within(folder, f"{name}-unguided"), denoiser, 0, **size)
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
    print(f"results: {folder / 'one_encoder.md'}")


if __name__ == "__main__":
    if len(sys.argv) < 3 or not all("=" in word for word in sys.argv[2:]):
        sys.exit(__doc__)
    words = dict(word.split("=", 1) for word in sys.argv[2:])
    prompts, each = int(words.pop("prompts", 64)), int(words.pop("each", 2))
    files = {name: Path(file).resolve() for name, file in words.items()}
    main(Path(sys.argv[1]).resolve(), files, prompts, each)
