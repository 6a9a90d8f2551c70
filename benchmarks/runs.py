"""Runs of `python sample.py` for the benchmarks.

One that is drawn and measured already is not drawn again.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "ROOT",
    "TUNING",
    "best_gamma",
    "folder_and_options",
    "named_options",
    "guided_and_unguided",
    "read_share",
    "sample",
    "shown_share",
    "within",
]

ROOT = Path(__file__).resolve().parent.parent
TUNING = {"offset": 1000}  # held-out captions and images that no figure is reported on
TUNED_ON = 32  # prompts that γ is chosen on
NEAR = 0.05  # shares of samples that show their prompt count as alike within this


def folder_and_options(usage: str, defaults: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The folder that the command line begins with, and the options that follow it.

    Arguments:
        usage: is printed where there is no folder.
        defaults: as of `named_options`.

    Raises:
        SystemExit: there is no folder, or as of `named_options`.
    """
    first = sys.argv[1] if len(sys.argv) > 1 else "-"
    if first.startswith("-") or first.partition("=")[0] in defaults:
        sys.exit(usage)
    return Path(first).resolve(), named_options(sys.argv[2:], defaults)


def named_options(words: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options that `name=value` words of a command line give, and the defaults of the others.

    Arguments:
        words: of the command line.
        defaults: {name: its default, of the type that its values have}.

    Raises:
        SystemExit: a word names none of them, or its value is of another type.
    """
    values = dict(defaults)
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in defaults:
            known = ", ".join(f"{other}=" for other in defaults) or "none"
            sys.exit(f"error: {word} is no option of this benchmark; there are: {known}.")
        try:
            values[name] = type(defaults[name])(text)
        except ValueError:
            kind = type(defaults[name]).__name__
            sys.exit(f"error: {word}: a value of type {kind} must follow {name}=.")
    return values


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


def shown_share(figures: Mapping) -> float:
    """The share of samples that show their prompt in a picture that is clean enough to be read."""
    return figures["shows"]


def read_share(figures: Mapping) -> float:
    """The share of samples in which all that is named is read, however blurred the picture is."""
    return figures["alignment"]["all"]


def best_gamma(
    folder: Path,
    gammas: Sequence[float],
    prompts: int = TUNED_ON,
    share: Callable[[Mapping], float] = shown_share,
    data: str = "portraits",
    **options,
) -> float:
    """γ with the least residual among those whose share of good samples is nearly the best.

    It is chosen on prompts of its own.

    Arguments:
        folder: of the run that γ is for; one for each γ is made beside it.
        prompts: how many.
        share: of good samples, from a run's figures.
        data: whose captions and weights the runs take.
        options: of the runs.
    """
    size = {"num_samples": prompts, "samples_per_prompt": 1, **TUNING}
    runs = {}
    for gamma in gammas:
        place = folder.with_name(f"{folder.name}-tune-{gamma:g}")
        runs[gamma] = sample(place, data, guidance__gamma=gamma, **options, **size)
    best = max(map(share, runs.values()))
    near = {gamma: run for gamma, run in runs.items() if share(run) >= best - NEAR}
    return min(near, key=lambda gamma: near[gamma]["residual"])


def guided_and_unguided(
    folder: Path,
    gammas: Sequence[float],
    size: Mapping[str, int],
    share: Callable[[Mapping], float] = shown_share,
    **options,
) -> tuple[float, dict, dict]:
    """The best γ, the figures of the portraits' run with it, and of the same one without guidance.

    Arguments:
        folder: of the guided run; the other lies beside it.
        size: how many samples.
        gammas, share, options: as of `best_gamma`.
    """
    gamma = best_gamma(folder, gammas, share=share, **options)
    guided = sample(folder, "portraits", guidance__gamma=gamma, **options, **size)
    beside = folder.with_name(f"{folder.name}-unguided")
    return gamma, guided, sample(beside, "portraits", guidance__gamma=0, **options, **size)
