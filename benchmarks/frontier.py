"""The frontier of every encoder: the share of samples shown over residual and distance, as γ rises.

    python benchmarks/frontier.py FOLDER [prompts=32] [each=4] [offset=0] [docs=false]
        [against='contrastive encoder'] [NAME=WEIGHTS …]

Prompts are captions of held-out images that name four factors; `each` is the number of samples of
a prompt. Other noise-aware encoders are compared too, by NAME=WEIGHTS, a file. All runs have the
same prompts and seeds, and share the unguided one. `offset=1000` takes the captions on which
settings are tuned. A run that lies in FOLDER already is not drawn again; the tables and the figure
are FOLDER/frontier.md and FOLDER/frontier.png, with docs=true in docs/ too.
"""

import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from frontier_curves import (
    at_equal_residual,
    curve,
    gamma_reaching,
    interval,
    read_samples,
    resampled,
)
from runs import ROOT, sample, within

SETTINGS = {"data": "portraits", "named": 4}
GAMMAS = (0, 1, 2, 3, 5, 10, 20, 40)
CONTRASTIVE = "weights/portraits/clip_contrastive.safetensors"
NEGATIVES = {
    "similarity__text__negative_captions": "held_out"
}  # as the calibrated encoders have by default
LEVEL = 0.8  # of the share shown, that γ is to reach
FRACTIONS = torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0])  # of the range that two curves share, in log r
COLUMNS = ("encoder", "γ", "shown", "95 %", "all read", "residual", "Fréchet", "same prompts", "s")
FRECHET = "frechet_imagenet"


def encoders(others: Mapping[str, Path]) -> dict[str, dict]:
    """{name: overrides} of all encoders that are compared.

    Arguments:
        others: {name: weights} of noise-aware ones.

    Raises:
        SystemExit: one of them is not there.
    """
    found = {"shipped": {}}
    if (ROOT / CONTRASTIVE).is_file():
        found["contrastive encoder"] = {"encoder__weights": CONTRASTIVE, **NEGATIVES}
    found["clean encoder"] = {"encoder": "clip", **NEGATIVES}
    for name, weights in others.items():
        if not weights.exists():
            sys.exit(f"error: {name}={weights} is not there; NAME=WEIGHTS is a file of an encoder.")
        found[name] = {"encoder": "clip_noisy", "encoder__weights": weights.resolve()}
    return found


def row(name: str, gamma: float, figures: Mapping) -> str:
    low, high = figures["shows_interval"]
    distances = [figures.get(key) for key in (FRECHET, f"{FRECHET}_prompts")]
    cells = [
        name,
        f"{gamma:g}",
        f"**{figures['shows']:.2f}**",
        f"{low:.2f}–{high:.2f}",
        f"{figures['alignment']['all']:.2f}",
        f"{figures['residual']:.4f}",
        *("" if distance is None else f"{distance:.1f}" for distance in distances),
        f"{figures['seconds_per_sample']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def reached(gamma: float) -> str:
    """A γ of `gamma_reaching`, in words."""
    if math.isinf(gamma):
        return f"> {GAMMAS[-1]}"
    return f"≤ {gamma:g}" if gamma == GAMMAS[1] else f"{gamma:.1f}"


def gammas_table(samples: Mapping[str, torch.Tensor], picks: torch.Tensor) -> list[str]:
    """The γ at which each encoder's samples reach `LEVEL`, with intervals over prompts."""
    lines = [f"| encoder | γ at which {LEVEL:.2f} show all four | 95 % |", "|---|---|---|"]
    for name, values in samples.items():
        gamma = gamma_reaching(GAMMAS, curve(values)[1].tolist(), LEVEL)
        draws = [gamma_reaching(GAMMAS, shown, LEVEL) for shown in curve(values, picks)[1].tolist()]
        low, high = (reached(end.item()) for end in interval(torch.tensor(draws).double()))
        lines.append(f"| {name} | {reached(gamma)} | {low} to {high} |")
    return lines


def equal_residual_table(
    samples: Mapping[str, torch.Tensor], picks: torch.Tensor, against: str
) -> list[str]:
    """Every encoder's share shown beside that of one, at the same residuals."""
    heads = ("encoder", "residual at most", "shown", against, "difference", "95 %")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    base, base_draws = curve(samples[against]), curve(samples[against], picks)
    for name in (name for name in samples if name != against):
        at, shown, theirs = at_equal_residual(curve(samples[name]), base, FRACTIONS)
        if at.isnan().any():
            lines.append(f"| {name} | no residual in common | | | | |")
            continue
        _, *draws = at_equal_residual(curve(samples[name], picks), base_draws, FRACTIONS)
        gains = torch.cat([shown - theirs, (shown - theirs).mean()[None]])
        by_draw = draws[0] - draws[1]
        low, high = interval(torch.cat([by_draw, by_draw.mean(1, keepdim=True)], 1))
        parts = [
            *(
                [f"{a:.4f}", f"{s:.2f}", f"{t:.2f}"]
                for a, s, t in zip(at, shown, theirs, strict=True)
            ),
            ["mean", f"{shown.mean():.2f}", f"{theirs.mean():.2f}"],
        ]
        for part, gain, least, most in zip(parts, gains, low, high, strict=True):
            ends = [f"**{gain:+.2f}**", f"{least:+.2f} to {most:+.2f}"]
            lines.append(f"| {' | '.join([name, *part, *ends])} |")
    return lines


def draw(file: Path, results: Mapping[str, Mapping[float, Mapping]]) -> None:
    """Writes a picture: the share shown over the residual, and over the distance.

    Arguments:
        results: {encoder: {γ: figures of the run}}.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    panels = (("residual", "median residual"), (FRECHET, "Fréchet distance, ImageNet's features"))
    for axis, (key, title) in zip(axes, panels, strict=True):
        for name, by_gamma in results.items():
            measured = [(g, m) for g, m in by_gamma.items() if m.get(key) is not None]
            points = [(m[key], m["shows"], g) for g, m in measured]
            if not points:
                continue
            x, y, _ = zip(*points, strict=True)
            (line,) = axis.plot(x, y, marker="o", ms=4, label=name)
            for left, up, gamma in points:
                axis.annotate(
                    f"{gamma:g}",
                    (left, up),
                    (3, 3),
                    textcoords="offset points",
                    fontsize=7,
                    color=line.get_color(),
                )
        axis.set(xlabel=title, ylim=(-0.03, 1.06))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of samples that show all four factors")
    axes[0].legend(fontsize=8, framealpha=0.6, title="labels: γ", title_fontsize=8)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(
    folder: Path,
    others: Mapping[str, Path],
    prompts: int = 32,
    each: int = 4,
    offset: int = 0,
    against: str = "contrastive encoder",
    docs: bool = False,
) -> None:
    size = {"num_samples": prompts * each, "samples_per_prompt": each, "offset": offset}
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    results, samples = {}, {}
    for name, options in encoders(others).items():
        places = {}
        for gamma in GAMMAS:
            places[gamma] = within(folder, f"{name}-{gamma}" if gamma else "unguided")
            guided = options if gamma else {}  # unguided, all encoders draw the same
            figures = sample(places[gamma], **SETTINGS, **size, **guided, guidance__gamma=gamma)
            results.setdefault(name, {})[gamma] = figures
            lines.append(row(name, gamma, figures))
            print(lines[-1], flush=True)
        samples[name] = read_samples(list(places.values()))
    picks = resampled(next(iter(samples.values())).shape[1])
    further = ["", *gammas_table(samples, picks), ""]
    if against in samples:
        further += equal_residual_table(samples, picks, against)
    else:
        further.append(f"There is no {against}, so shares at equal residual are not compared.")
    print("\n".join(further))
    (folder / "frontier.md").write_text("\n".join(lines + further) + "\n")
    draw(folder / "frontier.png", results)
    if docs:
        for name in ("frontier.md", "frontier.png"):
            shutil.copy(folder / name, ROOT / "docs" / name)
    print(f"results: {folder / 'frontier.md'}, {folder / 'frontier.png'}")


if __name__ == "__main__":
    if len(sys.argv) < 2 or not all("=" in word for word in sys.argv[2:]):
        sys.exit(__doc__)
    words = dict(word.split("=", 1) for word in sys.argv[2:])
    numbers = {key: int(words.pop(key)) for key in ("prompts", "each", "offset") if key in words}
    named = {"against": words.pop("against")} if "against" in words else {}
    in_docs = words.pop("docs", "false") == "true"
    rest = {name: Path(weights).resolve() for name, weights in words.items()}
    main(Path(sys.argv[1]).resolve(), rest, **numbers, **named, docs=in_docs)
