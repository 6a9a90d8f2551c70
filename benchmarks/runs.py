"""Runs of `python sample.py` for the benchmarks.

One that is drawn and measured already is not drawn again.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "sample", "within"]

ROOT = Path(__file__).resolve().parent.parent
TUNING = {"offset": 1000}  # held-out captions and images that no figure is reported on


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
