"""The figures that a run's samples were measured with, and the options of `eval` that gave them."""

import csv
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from sdg.evaluation.store import SampleStore
from sdg.io.csv_table import read_table
from sdg.io.files import write_whole

__all__ = ["archive_metrics", "record_options", "recorded_metrics"]


def recorded_metrics(store: SampleStore, options: Mapping) -> dict | None:
    """The figures of a run that is drawn and measured already, with these options of `eval`.

    They are None where something is left to do, such as where a table was changed.
    """
    if store.missing() or not has_table(store):
        return None
    try:
        if json.loads(options_file(store.folder).read_text(encoding="utf-8")) != dict(options):
            return None
        return json.loads((store.folder / "metrics.json").read_text(encoding="utf-8"))
    except (ValueError, FileNotFoundError):
        return None


def has_table(store: SampleStore) -> bool:
    """Whether `samples.csv` lists these samples."""
    try:
        table = read_table(store.folder / "samples.csv")
    except (FileNotFoundError, ValueError, TypeError, csv.Error):
        return False
    listed = [(row.get("index"), row.get("file")) for row in table]
    return listed == [(str(row["index"]), row["file"]) for row in store.rows()]


def archive_metrics(folder: Path, options: Mapping) -> None:
    """Copies the figures that other options of `eval` gave into `measured/`.

    It does so before these replace them.
    """
    if not (folder / "metrics.json").is_file() or not options_file(folder).is_file():
        return
    earlier = options_file(folder).read_text(encoding="utf-8")
    if earlier != json.dumps(dict(options)):
        place = folder / "measured" / hashlib.sha256(earlier.encode()).hexdigest()[:8]
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / "eval.json", earlier)
        for name in ("metrics.json", "metrics.csv", "samples.csv", "report.html", "grid.png"):
            if (folder / name).is_file():
                shutil.copy(folder / name, place)
        print(f"the figures of an earlier measurement are kept in {place}")


def record_options(folder: Path, options: Mapping) -> None:
    """Notes that `metrics.json` is written, with these options."""
    write_whole(options_file(folder), json.dumps(dict(options)))


def options_file(folder: Path) -> Path:
    """The file that holds the options of `eval` that `metrics.json` was measured with."""
    return folder / "rows" / "measured.json"
