"""The picture of a run's first samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from sdg.data.prompts import parse_weighted_prompt
from sdg.report.grid import grid_columns, labelled_grid, labelled_rows
from sdg.report.samples import in_words, reference_in_words

__all__ = ["draw_grid"]

ROW = 10  # pictures in a row

Labelled = tuple[Tensor, str]


def draw_grid(
    file: Path,
    images: Tensor,
    conditions: Sequence[Mapping[str, str]],
    references: Mapping[str, Tensor],
    title: str,
    start: Tensor | None = None,
) -> None:
    """Writes the first samples behind what they started from.

    With references the samples of each condition stand behind what it refers to, in a row of their
    own; short ones stand side by side. A condition that all samples share stands above them.

    Arguments:
        images: the first samples, (M, 3, H, W) in [-1, 1].
        conditions: {kind: prompt} of each sample, of M or more.
        references: {name: image}.
        start: the image that the samples started from.
    """
    first = [] if start is None else [(start, "start")]
    if references:
        rows = condition_rows(images, conditions, references, first)
        labelled_rows(file, side_by_side(rows), title)
        return
    labels = [in_words(condition) for condition in conditions]
    if len(set(labels)) == 1 and labels[0]:  # said once, above all
        title, labels = f"{labels[0]}\n{title}", [""] * len(labels)
    shown = [*first, *zip(images, labels, strict=False)]
    labelled_grid(file, [image for image, _ in shown], [label for _, label in shown], title)


def condition_rows(
    images: Tensor,
    conditions: Sequence[Mapping[str, str]],
    references: Mapping[str, Tensor],
    first: list[Labelled],
) -> list[list[Labelled]]:
    """A row for each distinct condition: its references, then its samples."""
    rows: dict[str, list[Labelled]] = {}
    for image, condition in zip(images, conditions, strict=False):
        if str(condition) not in rows:
            rows[str(condition)] = first + labelled_references(condition, references)
        named = {kind: text for kind, text in condition.items() if not refers(text, references)}
        rows[str(condition)].append((image, in_words(named)))
    return [row[:ROW] for row in rows.values()]


def side_by_side(rows: list[list[Labelled]]) -> list[list[Labelled | None]]:
    """Short rows behind each other, so that all are about a square and not a column.

    Those of a line begin at the same places in every line.
    """
    width = max(map(len, rows))
    beside = max(1, grid_columns(width * len(rows)) // width)
    blocks: list[list[Labelled | None]] = [[*row, *[None] * (width - len(row))] for row in rows]
    return [sum(blocks[i : i + beside], []) for i in range(0, len(blocks), beside)]


def refers(prompt: str, references: Mapping[str, Tensor]) -> bool:
    """Whether a condition of one kind names a reference."""
    return any(name in references for name, _ in parse_weighted_prompt(prompt))


def labelled_references(
    condition: Mapping[str, str], references: Mapping[str, Tensor]
) -> list[Labelled]:
    """What a condition refers to, each with its kind, name and weight."""
    labelled = []
    for kind, prompt in condition.items():
        for name, weight in parse_weighted_prompt(prompt):
            if name in references:
                labelled.append((references[name], reference_in_words(kind, name, weight)))
    return labelled
