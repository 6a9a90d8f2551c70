"""What runs leave that must not depend on when they ran and beside what."""

import csv
import json
from pathlib import Path

# What no two runs share: times, dates, and what they cost.
TIMED = ("seconds", "peak_memory")
OWN = ("command.txt", "config.yaml", "metrics.csv", "multirun.yaml", "report.html", "README.md")
OWN_FOLDERS = ("rows", "checkpoints", "jobs", "unguided/rows")


def contents(folder: Path) -> dict[str, object]:
    """The files of a folder that must not depend on interruptions: {name: what it holds}.

    Of those which tell times or their folder's name, that they are there.
    """
    held: dict[str, object] = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if not file.is_file():
            continue
        if file.name == "metrics.json":
            held[name] = untimed(json.loads(file.read_text()))
        elif file.name == "sweep.csv":
            with open(file, newline="") as rows:
                held[name] = [untimed(row) for row in csv.DictReader(rows)]
        elif file.name in OWN or any(part in name for part in OWN_FOLDERS):
            held[name] = None
        else:
            held[name] = file.read_bytes().replace(str(folder).encode(), b"FOLDER")
    return held


def untimed(value: object) -> object:
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if not key.startswith(TIMED)}
    return value


def difference(ours: dict[str, object], theirs: dict[str, object]) -> str:
    """The files of which one has another content, or which only one has."""
    names = sorted(ours.keys() | theirs.keys())
    none = object()
    return ", ".join(name for name in names if ours.get(name, none) != theirs.get(name, none))
