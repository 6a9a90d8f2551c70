"""What the pages of a run and of a sweep show."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdg.io.plain import flat
from sdg.report.compared import GAMMA, compared, picture_of
from sdg.report.page import Group, Page, Picture
from sdg.report.pictures import open_picture
from sdg.report.rows import Sample, samples
from sdg.report.samples import (
    COMMAND,
    attributes,
    caption,
    condition,
    condition_title,
    identity,
    label_of_reference,
    miss,
    shows_prompt,
    strength,
)
from sdg.report.words import COLUMNS, figures_in_words

__all__ = [
    "COMMAND",
    "config_of",
    "heading_of",
    "run_page",
    "single_attributes",
    "sweep_page",
]

GROUPS, EACH, MOST = 24, 12, 288  # prompts on a page, samples of each of several, in all


def run_page(folder: Path, unguided: Mapping[int, Path] | None = None) -> Path:
    """`report.html` of a sampling run.

    It has the samples, the figures in words, a trajectory, and the config.

    Arguments:
        unguided: {index: picture of the same seed without guidance} of the samples that have one.
    """
    metrics, every = (
        json.loads((folder / "metrics.json").read_text(encoding="utf-8")),
        samples(folder),
    )
    rows: dict[tuple, list[Sample]] = {}
    for sample in every:
        # By whole paths: two files of one name are two conditions.
        rows.setdefault(tuple(sample.conditions.items()), []).append(sample)
    prompts = counted(len(rows), "prompt" if "prompt" in every[0] else "condition")
    number = counted(len(every), "sample")
    settings = strength(metrics["gamma"])
    if len(rows) == 1 and condition(every[0]):
        page = heading_of(
            folder, condition_title(every[0]), f"{number}, {settings} · {folder.name}"
        )
    else:
        page = heading_of(folder, f"{number} of {prompts}, {settings}", folder.name)
    groups = grouped(folder, rows, attributes(metrics), unguided or {})
    count = sum(len(group.samples) for group in groups)
    if count < len(every):
        page.note(f"{count} of {number} are on this page; samples.csv lists all.")
    page.grid(groups)
    page.heading("Figures")
    page.figures(list(figures_in_words(metrics)))
    with page.folded("All figures, by their keys in metrics.json"):
        page.table([{"key": key, "value": value} for key, value in raw(metrics).items()])
    trajectory(page, folder)
    config_of(page, folder)
    return page.write(folder / "report.html")


def sweep_page(
    folder: Path, jobs: Sequence[Mapping], rows: Sequence[Mapping], figure, command: str = ""
) -> Path:
    """`report.html` of a sweep.

    It has the same samples of every run, its curves, its table, a trajectory, and the configs'
    common part.

    Arguments:
        jobs: as `sdg.app.jobs` gives them.
        rows: of the table.
        figure: the curves, of matplotlib, or None.
        command: that started the sweep.
    """
    asked = {condition_title(sample) for job in jobs for sample in samples(job["path"])}
    alone = asked.pop() if len(asked) == 1 else ""
    heading = f"{alone}, {swept(jobs)}" if alone else swept(jobs)
    note = f"{counted(len(jobs), 'run')}, a row each, with the same seeds · {folder.name}"
    page = Page(heading, note, command, date_of(jobs[-1]["path"]))
    titles, lines = compared(jobs)
    page.gallery(titles, [(name, list(map(picture_of, cells))) for name, cells in lines])
    if figure is not None:
        page.heading("Curves")
        page.note(
            "What is shaded are 95 % intervals over prompts, or ± one standard deviation where the "
            "axis says so."
        )
        page.drawing(figure)
    page.heading("Figures")
    single = single_attributes(rows[0])
    page.table([with_titles(row, single) for row in rows])
    with page.folded("All figures, by their columns in sweep.csv, with each attribute by itself"):
        page.table(rows)
    for job in reversed(jobs):  # the last is mostly the strongest
        if (job["path"] / "trajectory.png").is_file():
            trajectory(page, job["path"], f" of {job['name']}")
            break
    config_of(
        page, jobs[0]["path"], f" of the first run, {jobs[0]['name']}" if len(jobs) > 1 else ""
    )
    return page.write(folder / "report.html")


def swept(jobs: Sequence[Mapping]) -> str:
    """What tells the runs apart, such as γ = 0, 5; their number where that is not one setting."""
    settings = [job["name"].partition("=") for job in jobs]
    keys = {key for key, _, _ in settings}
    values = [value for _, _, value in settings]
    if len(keys) > 1 or not all(values) or any(" " in value for value in values):
        return counted(len(jobs), "run")
    key = keys.pop()
    return f"{'γ' if key == GAMMA else key} = {', '.join(values)}"


def heading_of(folder: Path, title: str, note: str) -> Page:
    file = folder / COMMAND
    command = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    return Page(title, note, command, date_of(folder))


def date_of(run: Path) -> str:
    """When a run was measured."""
    seconds = (run / "metrics.json").stat().st_mtime
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def grouped(
    folder: Path,
    rows: Mapping[tuple, Sequence[Sample]],
    names: Sequence[str],
    unguided: Mapping[int, Path],
) -> list[Group]:
    """The samples of each prompt behind what they refer to; all in one where each has but one."""
    many = len(rows) > 1
    singles = many and all(len(row) == 1 for row in rows.values())
    each = EACH if many else MOST // (2 if unguided else 1)

    def picture(sample: Sample) -> Picture:
        file = unguided.get(int(sample["index"]))
        without = f"without guidance | {identity(sample)}"
        beside = None if file is None else Picture(open_picture(file), without)
        return Picture(
            open_picture(folder / sample["file"]),
            caption(sample, names),
            condition(sample) if singles else f"sample {sample['index']}",
            shows_prompt(sample),
            miss(sample),
            beside,
        )

    groups = []
    for row in list(rows.values())[: EACH * GROUPS if singles else GROUPS]:
        references = []
        for kind, file in row[0].references.items():
            name = label_of_reference(row[0], kind)
            references.append(Picture(open_picture(file), f"reference | {name}", name))
        label = condition(row[0]) if many else ""
        groups.append(Group(label, [picture(sample) for sample in row[:each]], references))
    if singles and not any(group.references for group in groups):
        return [Group("", [sample for group in groups for sample in group.samples])]
    return groups


def single_attributes(row: Mapping) -> list[str]:
    """The columns of a sweep's table that tell of one attribute each."""
    names = list(row)
    same = [name for name in names if name.startswith("same_")]
    return [*names[1 : names.index("all")], *same]


def with_titles(row: Mapping, left_out: Sequence[str]) -> dict:
    """A row of a sweep's table, with its columns' titles in words."""
    return {COLUMNS.get(key, key): value for key, value in row.items() if key not in left_out}


def raw(metrics: Mapping) -> dict:
    """Every figure by its dotted key; pairs as they are."""
    values = {}
    for key, value in flat(dict(metrics)).items():
        if isinstance(value, list):
            values[key] = ", ".join(f"{part:.4g}" for part in value)
        elif value is not None:
            values[key] = value
    return values


def counted(number: int, one: str) -> str:
    """A number of things in words."""
    return f"{number} {one if number == 1 else one + 's'}"


def trajectory(page: Page, folder: Path, of: str = "") -> None:
    if (folder / "trajectory.png").is_file():
        page.heading(f"From noise to image{of}: the predicted image at each step")
        page.picture(folder / "trajectory.png", "predicted images, from noise to image")


def config_of(page: Page, folder: Path, of: str = "") -> None:
    with page.folded(f"Config{of}"):
        page.text((folder / "config.yaml").read_text(encoding="utf-8"))
