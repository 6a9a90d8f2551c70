"""A run's table of samples, and what a page says of each."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdg.io.csv_table import read_table

__all__ = ["attributes", "caption", "condition", "identity", "miss", "referred", "samples", "shown"]

REFERENCES = ("content", "structure", "style")
CONDITIONS = ("prompt", "class", *REFERENCES)


def samples(run: Path) -> list[dict]:
    """The rows of a run's `samples.csv`."""
    return read_table(run / "samples.csv")


def attributes(metrics: Mapping) -> list[str]:
    """The attributes that a run's samples were read for."""
    return [name for name in metrics.get("alignment", {}) if name != "all"]


def condition(sample: Mapping, whole: bool = False) -> str:
    """What a sample was asked to be like, in few words.

    Of a file that is its name alone, unless `whole`.
    """
    return " + ".join(
        Path(sample[name]).name if name in REFERENCES and not whole else sample[name]
        for name in CONDITIONS
        if sample.get(name)
    )


def shown(sample: Mapping) -> bool | None:
    """Whether a sample shows its prompt; None where that was not read.

    It does when it has all named attributes and, where that is measured, no visible flaw.
    """
    value = sample.get("shows") or sample.get("all")
    return None if value in (None, "") else value == "1"


def miss(sample: Mapping) -> str:
    """What a sample misses, in few words: the named attributes that it lacks, or a flaw."""
    if shown(sample) is not False:
        return ""
    lacking = sample.get("missed", "").split()
    return ", ".join(name.replace("_", " ") for name in lacking) or "visible flaw"


def caption(sample: Mapping, names: Sequence[str]) -> str:
    """What a sample was asked for, what it misses, and what was read off it.

    Arguments:
        names: of the attributes that were read.
    """
    parts = [condition(sample)]
    if lacking := miss(sample):
        parts.append(f"✗ misses: {lacking}")
    values = [f"{name.replace('_', ' ')} {sample[name]}" for name in names if sample.get(name)]
    if values:
        parts.append(f"read off the picture: {', '.join(values)}")
    return " | ".join([*parts, identity(sample)])


def identity(sample: Mapping) -> str:
    """Which sample it is."""
    return f"sample {sample['index']}, seed {sample['seed']}"


def referred(run: Path, sample: Mapping) -> dict[str, Path]:
    """{similarity: picture of what a sample refers to}, as its run kept them."""
    file = run / "references.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    return {kind: run / kept[sample[kind]] for kind in REFERENCES if sample.get(kind) in kept}
