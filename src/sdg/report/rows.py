"""A run's samples as its folder records them: the table, and what each was asked to be like."""

import json
from pathlib import Path

import yaml

from sdg.errors import UserError, first_line
from sdg.io.csv_table import read_table

__all__ = ["Sample", "samples"]


class Sample(dict[str, str]):
    """A row of `samples.csv`.

    Arguments:
        row: {column: its cell}.
        conditions: {similarity: what the sample was asked to be like}, by the column's name, which
            is `prompt` for the sentence of `similarity.text`.
        references: {similarity: picture of what it refers to}, of the similarities to pictures.
    """

    def __init__(
        self, row: dict[str, str], conditions: dict[str, str], references: dict[str, Path]
    ):
        super().__init__(row)
        self.conditions, self.references = conditions, references


def samples(run: Path) -> list[Sample]:
    """The rows of a run's `samples.csv`.

    Raises:
        UserError: the config that the run has recorded cannot be read.
    """
    columns = ["prompt" if kind == "text" else kind for kind in similarities(run)]
    file = run / "references.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    rows = []
    for row in read_table(run / "samples.csv"):
        conditions = {name: row[name] for name in columns if row.get(name)}
        pictures = {name: run / kept[what] for name, what in conditions.items() if what in kept}
        rows.append(Sample(row, conditions, pictures))
    return rows


def similarities(run: Path) -> list[str]:
    """The names of a run's similarities, from the config that it has recorded."""
    file = run / "config.yaml"
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        return [str(kind) for kind in config.get("similarity") or {}]
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"{file} is damaged or no config ({first_line(error)}).") from error
