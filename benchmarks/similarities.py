"""What every similarity does alone and what it does in company: 32 wishes × 16 samples each, on held-out references and captions.

A wish of two terms names, by each, what the other leaves open: a shape by text and a colour and pattern by style, for instance. Beside
it stands each of its terms alone, read the same way, and the unguided model.

    python benchmarks/similarities.py FOLDER [wishes=32] [samples of each=16] [the first held-out image=0]
"""

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from methods import ROOT, sample

sys.path.insert(0, str(ROOT / "src"))

from sdg.data.shapes import FACTORS, Shapes, describe  # noqa: E402
from sdg.metrics.alignment import bootstrap_interval  # noqa: E402

import numpy as np  # noqa: E402

HELD_OUT_SEED = 1
NAMES = list(FACTORS)
# Chosen on held-out images from number 1000 on. A sentence that names little wants experiment=brief.
AS_IT_IS = {"similarity__content__noised": "false"}
BRIEF = {"experiment": "brief"}
BRIEF_IN_STYLE = BRIEF | {"similarity__style__weight": 2, "guidance__recurrence": 2}


class Wishes:
    """Pairs of held-out images a and b that differ in every factor of interest, and sentences about them."""

    def __init__(self, count: int, offset: int):
        data, differ = Shapes(2000, HELD_OUT_SEED), [NAMES.index(name) for name in ("shape", "colour", "pattern", "background")]
        self.a = list(range(offset, offset + count))
        self.b = [next(j for j in range(i + count, len(data)) if all(data.factors[i][k] != data.factors[j][k] for k in differ)) for i in self.a]
        self.factors = data.factors

    def image(self, which: str) -> list[str]:
        return [f"held-out {i}" for i in getattr(self, which)]

    def say(self, which: str, *named: str) -> list[str]:
        return [describe(self.factors[i].tolist(), np.random.default_rng(i), list(named)) for i in getattr(self, which)]

    def value(self, which: str, name: str) -> list[str]:
        return [FACTORS[name][self.factors[i][NAMES.index(name)]] for i in getattr(self, which)]


def draw(folder: Path, columns: dict[str, list[str]], each: int, **options) -> tuple[list[dict], dict]:
    """A run's rows and figures; `columns` are its table of wishes."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "wishes.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(zip(*columns.values()))
    kinds = ["text" if name == "prompt" else name for name in columns]
    figures = sample(folder / "run", similarity=f"[{','.join(kinds)}]", prompts=folder / "wishes.csv", samples_per_prompt=each, **options)
    with open(folder / "run" / "samples.csv") as file:
        return list(csv.DictReader(file)), figures


def share(rows: list[dict], each: int, wanted: Iterable[tuple[str, list[str]]]) -> str:
    """How often the judge reads all of these, with its interval."""
    right = torch.tensor([float(all(row[name] == values[k // each] for name, values in wanted)) for k, row in enumerate(rows)])
    low, high = bootstrap_interval(right, [str(k // each) for k in range(len(rows))])
    return f"{right.mean():.2f} ({low:.2f}–{high:.2f})"


def main(folder: str, wishes: int = 32, each: int = 16, offset: int = 0) -> None:
    folder, w = Path(folder).resolve(), Wishes(wishes, offset)
    a_is, b_is = (lambda *names: [(name, w.value("a", name)) for name in names]), (lambda *names: [(name, w.value("b", name)) for name in names])
    lines = ["| similarity | read | share | mask IoU (random pair) | position spread | Fréchet (judge) | diversity | s |", "|---" * 8 + "|"]

    def add(name: str, columns: dict[str, list[str]], *readings, **options) -> None:
        rows, m = draw(folder / name.replace(" ", "-"), columns, each, **options)
        overlap = "".join(f"{m['mask_iou'][kind]:.2f} ({m['mask_iou_random'][kind]:.2f})" for kind in list(m.get("mask_iou", {}))[:1])
        for k, (label, wanted) in enumerate(readings):
            rest = f"{overlap} | {m['position_spread']:.3f} | {m['frechet_judge']:.1f} | {m['diversity_judge']:.2f} | {m['seconds_per_sample']:.2f}" if k == 0 else " | | | |"
            lines.append(f"| {name if k == 0 else ''} | {label} | {share(rows, each, wanted)} | {rest} |")
        print("\n".join(lines[-len(readings):]), flush=True)

    content = [("colour and shape", a_is("colour", "shape")), ("colour, shape, pattern, background", a_is("colour", "shape", "pattern", "background"))]
    style = [("colour and pattern", a_is("colour", "pattern")), ("shape", a_is("shape"))]
    add("unguided", {"style": w.image("a")}, *content, *style, guidance__gamma=0)
    add("content", {"content": w.image("a")}, *content)
    add("content as it is", {"content": w.image("a")}, *content, guidance__gamma=60, **AS_IT_IS)
    add("structure", {"structure": w.image("a")}, ("shape", a_is("shape")), ("colour", a_is("colour")))
    add("style", {"style": w.image("a")}, *style)

    shape, look, both = ("shape of the sentence", b_is("shape")), ("colour and pattern of the reference", a_is("colour", "pattern")), b_is("shape") + a_is("colour", "pattern")
    add("text, a shape", {"prompt": w.say("b", "shape")}, shape, look, ("both", both), **BRIEF)
    add("text + style", {"prompt": w.say("b", "shape"), "style": w.image("a")}, shape, look, ("both", both), **BRIEF_IN_STYLE)

    ground, thing = ("background of the sentence", b_is("background")), ("colour and shape of the reference", a_is("colour", "shape"))
    add("text, a background", {"prompt": w.say("b", "background")}, ground, thing, ("both", b_is("background") + a_is("colour", "shape")))
    add("text + content", {"prompt": w.say("b", "background"), "content": w.image("a")}, ground, thing, ("both", b_is("background") + a_is("colour", "shape")), **AS_IT_IS)

    colour, both = ("colour", b_is("colour")), b_is("shape") + b_is("colour")
    add("text, a colour", {"prompt": w.say("b", "colour")}, ("shape", b_is("shape")), colour, ("both", both), **BRIEF)
    add("two sentences", {"prompt": [f"{one} | {other}" for one, other in zip(w.say("b", "shape"), w.say("b", "colour"))]},
        ("shape", b_is("shape")), colour, ("both", both), **BRIEF)

    most, all_of_it = w.say("a", "shape", "colour"), ("shape", a_is("shape"))
    unwanted = ("the pattern that is unwanted", b_is("pattern"))
    add("text, shape and colour", {"prompt": most}, all_of_it, ("shape and colour", a_is("shape", "colour")), unwanted, **BRIEF)
    add("one against another", {"prompt": [f"{one} | {other}:-0.5" for one, other in zip(most, w.say("b", "pattern"))]},
        all_of_it, ("shape and colour", a_is("shape", "colour")), unwanted, **BRIEF)
    (folder / "similarities.md").write_text("\n".join(lines) + "\n")
    print(f"results: {folder}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
