"""The figures of a sampling run, from the files that it wrote: it does not matter which rank wrote them."""

import csv
import json
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from sdg.checkpoints.models import load_clip, load_judge
from sdg.data.shapes import FACTORS, named_factors
from sdg.metrics.alignment import Alignment, bootstrap_interval, hits
from sdg.metrics.fidelity import frechet_judge
from sdg.metrics.judge import Judge
from sdg.report.grid import labelled_grid

__all__ = ["evaluate"]


def evaluate(folder: Path, config: DictConfig, held_out, gamma: float, device) -> dict:
    """Writes `samples.csv`, `metrics.json` and `grid.png`, and prints the figures.

    Arguments:
        folder: of the run, with `images/` and `rows/`.
        config: of the run; `eval` says who judges.
        held_out: real images; the judge reads the shapes' factors, so only where they are known.
        gamma: γ, for the record.
        device: where to compute.

    Returns:
        what `metrics.json` holds.
    """
    rows = sorted((json.loads(line) for file in (folder / "rows").glob("*.jsonl") for line in file.read_text().splitlines()), key=lambda row: row["index"])
    images = read_images([folder / row["file"] for row in rows]).to(device)
    prompts = [row["prompt"] for row in rows]
    metrics = {"gamma": gamma, "num_samples": len(rows), "num_prompts": len(set(prompts)),
               "seconds_per_sample": sum(row["seconds"] for row in rows) / len(rows)}
    metrics["similarity"] = clean_similarity(config, images, prompts, rows, device)
    if config.eval.judge and hasattr(held_out, "factors"):
        metrics |= judged(load_judge(config.eval.judge).to(device), images, prompts, rows, held_out, config.eval, device)

    with open(folder / "samples.csv", "w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    shown = slice(0, config.eval.grid)
    labelled_grid(folder / "grid.png", images[shown].cpu(), prompts[shown], title=f"γ = {gamma:g}")
    for name in ("alignment", "judge_ceiling"):
        if name in metrics:
            print(f"{name}: " + "  ".join(f"{factor} {share:.2f}" for factor, share in metrics[name].items() if share is not None))
    print("  ".join(f"{name}: {metrics[name]:.3f}" for name in ("similarity", "frechet_judge", "seconds_per_sample") if metrics.get(name) is not None))
    print(f"picture: {folder / 'grid.png'}")
    return metrics


def clean_similarity(config: DictConfig, images: Tensor, prompts: list[str], rows: list[dict], device) -> float:
    """Mean cosine between the finished images and their prompts under the clean CLIP."""
    clip = load_clip(config.eval.clip).to(device)
    with torch.no_grad():
        cosines = (torch.cat([clip.encode_image(part) for part in images.split(250)]) * clip.encode_text(prompts)).sum(-1)
    for row, cosine in zip(rows, cosines.tolist()):
        row["similarity"] = round(cosine, 4)
    return cosines.mean().item()


def judged(judge: Judge, images: Tensor, prompts: list[str], rows: list[dict], held_out, options: DictConfig, device) -> dict:
    """Alignment, its interval, the judge's ceiling on real images, and the Fréchet distance in its features."""
    asked = [named_factors(prompt) for prompt in prompts]
    truth = torch.tensor([[named.get(factor, -1) for factor in FACTORS] for named in asked], device=device)
    guesses = torch.cat([judge.guess(part) for part in images.split(250)])
    alignment = Alignment(list(FACTORS)).to(device)
    alignment.update(guesses, truth)
    right, was_asked = hits(guesses, truth)
    for row, guess, hit in zip(rows, guesses.tolist(), right[:, -1].tolist()):
        row |= {factor: FACTORS[factor][value] for factor, value in zip(FACTORS, guess)} | {"all": int(hit)}

    real = held_out.__getitems__(list(range(min(options.real, len(held_out)))))
    seen = real["image"].to(device)
    # The ceiling is asked what the prompts ask: "all" of real images means the factors that the prompts name.
    named = truth.max(0).values >= 0
    ceiling = Alignment(list(FACTORS)).to(device)
    ceiling.update(torch.cat([judge.guess(part) for part in seen.split(250)]), torch.where(named, real["factors"].to(device), -1))
    result = {"alignment": alignment.compute(), "judge_ceiling": ceiling.compute()}
    if was_asked[:, -1].any():
        keep = was_asked[:, -1]
        result["alignment_all_interval"] = bootstrap_interval(right[keep, -1], [p for p, k in zip(prompts, keep.tolist()) if k], options.bootstrap)
    return result | {"frechet_judge": frechet_judge(judge, images, seen)}


def read_images(files: list[Path]) -> Tensor:
    """Images in [-1, 1], (N, 3, H, W)."""
    return torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files])).permute(0, 3, 1, 2).float() / 127.5 - 1
