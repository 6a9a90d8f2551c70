"""The figures of a sampling run, from the files that it wrote: it does not matter which rank wrote them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from sdg.checkpoints.models import load_clip, load_judge
from sdg.data.requests import Request, weighted
from sdg.data.shapes import FACTORS, all_named
from sdg.errors import UserError, integer
from sdg.lightning.drawn import Drawn
from sdg.metrics.alignment import Alignment, bootstrap_interval, hits
from sdg.metrics.fidelity import diversity_judge, frechet_judge, kernel_judge
from sdg.metrics.judge import Judge
from sdg.metrics.layout import centres, intersection_over_union, spread_within
from sdg.report.grid import labelled_grid, labelled_rows

__all__ = ["Evaluation", "report"]

PART = 250  # images that go through a network at once
ROW = 10  # pictures in a row


class Evaluation:
    """Measures a run's samples; made before they are drawn, so that what it lacks is said first.

    Arguments:
        options: `eval` of the config: who judges.
        requests: of the run.
        held_out: real images; the judge reads the shapes' factors, so only where they are known.
        references: {name: image} of what the requests refer to.
        resolution: side of the samples in pixels.
        start: the image that the samples started from, to show beside them.

    Raises:
        UserError: weights are missing or take images of another size, or a wish names what the data does not know.
    """

    def __init__(self, options: DictConfig, requests: Sequence[Request], held_out, references: dict[str, Tensor], resolution: int,
                 start: Tensor | None = None):
        integer("eval.grid", options.grid, 1)
        integer("eval.real", options.real, 2)
        integer("eval.bootstrap", options.bootstrap, 1)
        self.options, self.held_out, self.references, self.start = options, held_out, references, start
        self.wishes = [dict(request.wishes) for request in requests]
        self.judge = load_judge(options.judge) if options.judge and hasattr(held_out, "class_of") else None
        self.clip = load_clip(options.clip) if options.clip and self.wishes[0].get("text") else None
        for name, network in (("judge", self.judge), ("clip", self.clip)):
            if network is not None and network.resolution != resolution:
                raise UserError(f"eval.{name} reads images of {network.resolution} pixels a side, the samples have {resolution}: train one "
                                f"(python train.py encoder={name} data.resolution={resolution}) or go without, eval.{name}=null.")
        if self.judge:
            self.wanted, self.unwanted = named_by(self.wishes, 1), named_by(self.wishes, -1)

    def run(self, drawn: Drawn, gamma: float, device) -> dict:
        """Writes `samples.csv`, `metrics.json` and `grid.png`, prints the figures and returns what `metrics.json` holds.

        Arguments:
            drawn: the run's folder and what it holds.
            gamma: γ, for the record.
            device: where to compute.
        """
        folder, rows = drawn.folder, drawn.rows()
        if len(rows) != len(self.wishes):
            raise UserError(f"{folder} holds {len(rows)} of {len(self.wishes)} samples: some processes wrote elsewhere. Set hydra.run.dir to one folder that all machines share.")
        images = read_images([folder / row["file"] for row in rows]).to(device)
        costs = [row.pop("cost") for row in rows]
        cost = {name: sum(c[name] for c in costs) / len(costs) for name in costs[0]} | {"peak_memory": max(c["peak_memory"] for c in costs)}
        metrics = {"gamma": gamma, "num_samples": len(rows), "num_prompts": len({str(wish) for wish in self.wishes}),
                   "seconds_per_sample": cost.pop("seconds"), "cost_per_sample": cost}
        for row, wish in zip(rows, self.wishes):
            row |= {"prompt" if kind == "text" else kind: what for kind, what in wish.items()}
        metrics["similarity"] = clean_similarity(self.clip.to(device), images, self.wishes, rows) if self.clip else None
        if self.judge:
            metrics |= self.judged(self.judge.to(device), images, rows)

        with open(folder / "samples.csv", "w", newline="") as file:
            table = csv.DictWriter(file, fieldnames=rows[0].keys())
            table.writeheader()
            table.writerows(rows)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        draw(folder / "grid.png", images.cpu(), self.wishes, self.references, self.options.grid, f"γ = {gamma:g}", self.start)
        report(metrics)
        print(f"picture: {folder / 'grid.png'}")
        return metrics

    def judged(self, judge: Judge, images: Tensor, rows: list[dict]) -> dict:
        """Alignment, its interval, what is shared with references, the judge's ceiling on real images, and distances in its features,
        beside those of real images that show what the wishes name."""
        device, groups = images.device, [str(wish) for wish in self.wishes]
        truth, unwanted = self.wanted.to(device), self.unwanted.to(device)
        guesses, masks, features = read(judge, images)
        right, was_asked = hits(guesses, truth)
        for row, guess, hit in zip(rows, guesses.tolist(), right[:, -1].tolist()):
            row |= {factor: FACTORS[factor][value] for factor, value in zip(FACTORS, guess)} | {"all": int(hit)}

        real = self.held_out.__getitems__(list(range(min(self.options.real, len(self.held_out)))))
        seen = real["image"].to(device)
        # The ceiling is asked what the wishes ask: "all" of real images means the factors that they name, if they name any.
        named = truth.max(0).values >= 0
        named = named | ~named.any()
        ceiling = shares(torch.cat([judge.guess(part) for part in seen.split(PART)]), torch.where(named, real["factors"].to(device), -1))
        result = {"alignment": shares(guesses, truth), "judge_ceiling": ceiling}
        if was_asked[:, -1].any():
            keep = was_asked[:, -1]
            result["alignment_all_interval"] = bootstrap_interval(right[keep, -1], [g for g, k in zip(groups, keep.tolist()) if k], self.options.bootstrap)
        if (unwanted >= 0).any():
            result["against"] = shares(guesses, unwanted)
        result |= like_references(judge, guesses, masks, self.wishes, self.references, self.options.bootstrap)
        result |= {"frechet_judge": frechet_judge(judge, images, seen), "kernel_judge": kernel_judge(judge, images, seen)}
        if was_asked.any():  # samples of a few wishes are not the data, however good they are
            perfect = self.held_out.showing(truth.cpu().numpy()).to(device)
            result |= {"frechet_judge_real": frechet_judge(judge, perfect, seen), "kernel_judge_real": kernel_judge(judge, perfect, seen)}
        return result | {"diversity_judge": diversity_judge(features, groups), "position_spread": spread_within(centres(masks), groups)}


def draw(file: Path, images: Tensor, wishes: list[dict], references: dict[str, Tensor], most: int, title: str, start: Tensor | None = None) -> None:
    """The first samples behind what they started from, or with references a row for each wish that starts with what it refers to."""
    first = [] if start is None else [(start, "start")]
    if not references:
        shown = first + list(zip(images[:most], [" + ".join(wish.values()) for wish in wishes]))
        labelled_grid(file, *zip(*shown), title=title)
        return
    rows: dict[str, list] = {}
    for image, wish in zip(images[:most], wishes):
        row = rows.setdefault(str(wish), first + [(references[name], f"{kind} reference") for kind in wish for name, _ in weighted(wish[kind]) if name in references])
        row.append((image, " + ".join(what for kind, what in wish.items() if kind in ("text", "class"))))
    labelled_rows(file, [row[:ROW] for row in rows.values()], title)


def report(metrics: dict) -> None:
    """The figures in a few lines."""
    def shares(values: dict) -> str:
        return "  ".join(f"{name} {value:.2f}" for name, value in values.items() if value is not None)
    for name in ("alignment", "against", "judge_ceiling"):
        if any(value is not None for value in metrics.get(name, {}).values()):
            print(f"{name}: {shares(metrics[name])}")
    for kind, values in metrics.get("agreement", {}).items():
        print(f"shared with the {kind} reference: {shares(values)}")
    print("  ".join(f"{name}: {metrics[name]:.3f}" for name in ("similarity", "frechet_judge", "frechet_judge_real", "diversity_judge", "seconds_per_sample") if metrics.get(name) is not None))


def clean_similarity(clip, images: Tensor, wishes: list[dict], rows: list[dict]) -> float:
    """Mean cosine between the finished images and their sentence of most weight under the clean CLIP."""
    parts = [weighted(wish["text"]) for wish in wishes]
    with torch.no_grad():
        z = torch.cat([clip.encode_image(part) for part in images.split(PART)])
        sentences = list(dict.fromkeys(sentence for part in parts for sentence, _ in part))
        text = dict(zip(sentences, clip.encode_text(sentences)))
    cosines = [float(image @ text[foremost(wish["text"])]) for image, wish in zip(z, wishes)]
    for row, cosine in zip(rows, cosines):
        row["similarity"] = round(cosine, 4)
    return sum(cosines) / len(cosines)


def foremost(wish: str) -> str:
    """Its part of most weight."""
    return max(weighted(wish), key=lambda part: part[1])[0]


def named_by(wishes: list[dict], sign: int) -> Tensor:
    """The factors that sentences and classes with a weight of this sign name, integers (B, factors), −1 where they name none or two."""
    rows = []
    for wish in wishes:
        words = " ".join(part for kind in ("text", "class") if kind in wish for part, weight in weighted(wish[kind]) if weight * sign > 0)
        rows.append([found.get(factor, -1) for factor in FACTORS] if (found := unambiguous(words)) else [-1] * len(FACTORS))
    return torch.tensor(rows)


def unambiguous(words: str) -> dict[str, int]:
    """The factors of which these words name one value."""
    return {factor: values.pop() for factor, values in all_named(words).items() if len(values) == 1}


def like_references(judge: Judge, guesses: Tensor, masks: Tensor, wishes: list[dict], references: dict[str, Tensor], draws: int) -> dict:
    """For each similarity to images: shares of samples whose factors are those of the reference of most weight, with intervals, and
    how well the object's mask overlaps that reference's, beside the overlap with another reference."""
    if not references:
        return {}
    names = list(references)
    their_guesses, their_masks, _ = read(judge, torch.stack([references[name] for name in names]).to(guesses.device))
    result: dict[str, dict] = {"agreement": {}, "agreement_interval": {}, "mask_iou": {}, "mask_iou_interval": {}, "mask_iou_random": {}}
    for kind in [k for k in wishes[0] if all(foremost(wish[k]) in references for wish in wishes)]:
        rows = torch.tensor([names.index(foremost(wish[kind])) for wish in wishes], device=guesses.device)
        result["agreement"][kind] = shares(guesses, their_guesses[rows])
        groups = [wish[kind] for wish in wishes]
        result["agreement_interval"][kind] = {factor: bootstrap_interval(guesses[:, k] == their_guesses[rows, k], groups, draws)
                                              for k, factor in enumerate(FACTORS)}
        overlap = intersection_over_union(masks, their_masks[rows])
        result["mask_iou"][kind], result["mask_iou_interval"][kind] = overlap.mean().item(), bootstrap_interval(overlap, groups, draws)
        distinct = rows.unique()
        if len(distinct) > 1:
            another = distinct.roll(1)[torch.searchsorted(distinct, rows)]
            result["mask_iou_random"][kind] = intersection_over_union(masks, their_masks[another]).mean().item()
    return result


def read(judge: Judge, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The judge's guesses (B, factors), masks (B, H, W) and features (B, F)."""
    with torch.no_grad():
        parts = [(judge.guess(part), judge.mask(part), judge.features(part)) for part in images.split(PART)]
    return tuple(torch.cat(part) for part in zip(*parts))


def shares(guesses: Tensor, truth: Tensor) -> dict[str, float | None]:
    """{factor: share of images on which the guess is the truth}, None where there is no truth."""
    alignment = Alignment(list(FACTORS)).to(guesses.device)
    alignment.update(guesses, truth)
    return alignment.compute()


def read_images(files: list[Path]) -> Tensor:
    """Images in [-1, 1], (N, 3, H, W)."""
    return torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files])).permute(0, 3, 1, 2).float() / 127.5 - 1
