"""The same samples of several runs beside each other."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdg.report.page import Picture
from sdg.report.pictures import open_picture
from sdg.report.rows import Sample, samples
from sdg.report.samples import (
    attributes,
    caption,
    condition,
    label_of_reference,
    miss,
    shows_prompt,
)

__all__ = ["GAMMA", "compared", "picture_of"]

GAMMA = "guidance.gamma"
COLUMN_COUNT = 12  # of a sweep's table of pictures

# A picture's file, its caption, and its sample if it is one.
Cell = tuple[Path, str, Sample | None]


def compared(jobs: Sequence[Mapping]) -> tuple[list[str], list[tuple[str, list[Cell | None]]]]:
    """The same samples of every job: what each is, and rows of pictures.

    A row is (name, a cell for each sample, None where a job has it not). A row of references stands
    above the rows that share it; they are no samples.
    """
    every = [by_index(samples(job["path"])) for job in jobs]
    first = list(every[0].values())
    chosen = first[:: max(1, len(first) // COLUMN_COUNT)][:COLUMN_COUNT]
    rows: list[tuple[str, list[Cell | None]]] = []
    above = None
    for job, own in zip(jobs, every, strict=True):
        row = [own.get(sample["index"]) for sample in chosen]
        references = [sample and reference_names(sample) for sample in row]
        pictures = [reference_cell(sample) for sample in row]
        if references != above and any(pictures):
            rows.append(("reference", pictures))
        above = references
        label = re.sub(r"[^\s=,[]*/", "", job["name"]).replace(f"{GAMMA}=", "γ\u00a0=\u00a0")
        names = attributes(json.loads((job["path"] / "metrics.json").read_text(encoding="utf-8")))
        rows.append((label, [sample_cell(job, sample, names) for sample in row]))
    return column_titles(chosen, every), rows


def by_index(rows: Sequence[Sample]) -> dict[str, Sample]:
    """{index: sample}."""
    return {sample["index"]: sample for sample in rows}


def column_titles(chosen: Sequence[Sample], every: Sequence[Mapping[str, Sample]]) -> list[str]:
    """A sample's condition, or its number where the jobs' conditions differ or are all the same.

    Arguments:
        chosen: the samples, of the first job.
        every: {index: sample} of each job.
    """
    conditions = []
    for sample in chosen:
        same = [own[sample["index"]] for own in every if sample["index"] in own]
        conditions.append(set(map(condition, same)))
    alone = len(set.union(*conditions)) == 1  # the page's title says it
    return [
        condition(sample) if len(own) == 1 and not alone else f"sample {sample['index']}"
        for sample, own in zip(chosen, conditions, strict=True)
    ]


def sample_cell(job: Mapping, sample: Sample | None, names: Sequence[str]) -> Cell | None:
    """A sample of a job.

    Arguments:
        names: of the attributes that were read.
    """
    if sample is None:
        return None
    return job["path"] / sample["file"], f"{job['name']}: {caption(sample, names)}", sample


def reference_names(sample: Sample) -> list[str]:
    return [sample.conditions[kind] for kind in sample.references]


def reference_cell(sample: Sample | None) -> Cell | None:
    """The first picture that a sample refers to."""
    if sample is None:
        return None
    for kind, file in sample.references.items():
        return file, label_of_reference(sample, kind), None
    return None


def picture_of(cell: Cell | None) -> Picture | None:
    if cell is None:
        return None
    file, text, sample = cell
    if sample is None:
        return Picture(open_picture(file), f"reference | {text}", text)
    return Picture(open_picture(file), text, shown=shows_prompt(sample), wrong=miss(sample))
