"""The files in which a measured run ends."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from sdg.data.image import to_uint8
from sdg.data.prompts import primary_prompt
from sdg.errors import UserError
from sdg.evaluation.figures import write_table
from sdg.evaluation.store import SampleStore
from sdg.io.files import write_whole
from sdg.io.plain import flat

__all__ = ["check_figures", "sample_table", "write_figures", "write_references"]


def sample_table(
    store: SampleStore, conditions: Sequence[Mapping[str, str]], gamma: float, ranks: int
) -> list[dict]:
    """A row for each sample: its cost, its condition, and what all ranks measured of it.

    Arguments:
        conditions: {kind: prompt} of each sample.
        gamma: γ, for the record.
        ranks: number of processes that measured.

    Raises:
        UserError: the run's folder lacks samples.
    """
    rows = store.rows()
    if len(rows) != len(conditions):
        raise UserError(
            f"{store.folder} holds {len(rows)} of {len(conditions)} samples: some processes "
            "wrote elsewhere. Set hydra.run.dir to one folder that all machines share."
        )
    measured = {}
    for rank in range(ranks):
        for row in json.loads(store.rank_results(rank).read_text(encoding="utf-8")):
            measured[row["index"]] = row
    table = []
    for row, condition in zip(rows, conditions, strict=True):
        prompts = {"prompt" if kind == "text" else kind: what for kind, what in condition.items()}
        table.append(row | {"gamma": gamma} | prompts | measured[row["index"]])
    return table


def write_figures(folder: Path, table: Sequence[Mapping], metrics: Mapping) -> None:
    """Writes `samples.csv`, `metrics.csv` and `metrics.json`.

    Arguments:
        table: of `sample_table`.
        metrics: of `sdg.evaluation.figures.figures`.

    Raises:
        UserError: a figure is no finite number.
    """
    check_figures(metrics)
    without_cost = []
    for row in table:
        without_cost.append({key: value for key, value in row.items() if key != "cost"})
    write_table(folder / "samples.csv", without_cost)
    write_table(folder / "metrics.csv", [flat(metrics)])
    write_whole(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")


def check_figures(metrics: Mapping) -> None:
    """Refuses figures that are NaN or infinite: they are no results.

    Raises:
        UserError: one is.
    """
    for name, value in flat(dict(metrics)).items():
        values = value if isinstance(value, (list, tuple)) else [value]
        if any(isinstance(each, float) and not math.isfinite(each) for each in values):
            raise UserError(
                f"the figure {name} is {value}, no finite number, so no figures are written; the "
                "samples are kept. Look at what measures it, or leave that out of eval."
            )


def write_references(
    folder: Path, references: Mapping[str, Tensor], conditions: Sequence[Mapping[str, str]]
) -> None:
    """Writes what the conditions refer to, for pages to show.

    That is `references/0.png` …, and `references.json`, {condition: the picture that it refers
    to most}.
    """
    if not references:
        return
    places = {name: f"references/{k}.png" for k, name in enumerate(references)}
    for name, place in places.items():
        (folder / place).parent.mkdir(exist_ok=True)
        to_pil_image(to_uint8(references[name])).save(folder / place)
    pictures = {}
    for condition in conditions:
        for prompt in condition.values():
            if primary_prompt(prompt) in places:
                pictures[prompt] = places[primary_prompt(prompt)]
    if pictures:
        write_whole(folder / "references.json", json.dumps(pictures))
