"""Runs of `python sample.py` for the benchmarks.

One that is drawn and measured already is not drawn again.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["ROOT", "TUNING", "best_gamma", "sample", "within"]

ROOT = Path(__file__).resolve().parent.parent
TUNING = {"offset": 1000}  # held-out captions and images that no figure is reported on
TUNED_ON = 32  # prompts that γ is chosen on
NEAR = 0.05  # shares of samples that show their prompt count as alike within this


def sample(folder: Path, data: str = "shapes", **options) -> dict:
    """The figures of a run into a folder; `__` in an option's name stands for a dot.

    Raises:
        SystemExit: the run failed, or the folder holds one with other settings, prompts or weights.
    """
    overrides = [f"data={data}"] + [
        f"{key.replace('__', '.')}={quoted(value)}" for key, value in options.items()
    ]
    done = subprocess.run(
        [sys.executable, "sample.py", *overrides, f"hydra.run.dir={quoted(folder)}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(
            done.stderr.strip().splitlines()[-1]
            if done.stderr.strip()
            else f"sample.py failed in {folder}"
        )
    return json.loads((folder / "metrics.json").read_text())


def quoted(value) -> str:
    return f"'{value}'" if isinstance(value, Path) else str(value)


def within(folder: Path, name: str) -> Path:
    """A run's folder, with a name that Hydra's grammar takes."""
    return folder / re.sub(r"[^A-Za-z0-9.]+", "-", name)


def best_gamma(folder: Path, gammas: Sequence[float], prompts: int = TUNED_ON, **options) -> float:
    """γ with the least residual among those that show prompts nearly as often as the best.

    It is chosen on prompts of its own.

    Arguments:
        folder: of the run that γ is for; one for each γ is made beside it.
        prompts: how many.
        options: of the portraits' runs.
    """
    size = {"num_samples": prompts, "samples_per_prompt": 1, **TUNING}
    runs = {}
    for gamma in gammas:
        place = folder.with_name(f"{folder.name}-tune-{gamma:g}")
        runs[gamma] = sample(place, "portraits", guidance__gamma=gamma, **options, **size)
    best = max(figures["shows"] for figures in runs.values())
    near = {gamma: run for gamma, run in runs.items() if run["shows"] >= best - NEAR}
    return min(near, key=lambda gamma: near[gamma]["residual"])
