"""What the pages of a run and of a sweep show."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdg.report.page import Page

__all__ = ["compared", "run_page", "sweep_page", "condition"]

REFERENCES = ("content", "structure", "style")
CONDITIONS = ("prompt", "class", *REFERENCES)
ROWS, COLUMNS = 24, 12  # of a gallery, at most


def run_page(folder: Path) -> Path:
    """`report.html` of a sampling run.

    It has figures, the samples of each condition in a row, a trajectory, the config.
    """
    from sdg.report.pictures import open_picture

    metrics, drawn = json.loads((folder / "metrics.json").read_text()), samples(folder)
    page = Page(
        f"{counted(metrics['num_samples'], 'sample')} of "
        f"{counted(metrics['num_prompts'], 'condition', 'conditions')}, γ = {metrics['gamma']:g}",
        folder.name,
    )
    page.heading("Figures")
    page.table(
        [{"figure": name, "value": first, "and": rest} for name, first, rest in lines(metrics)]
    )
    page.heading("Samples: a condition a row; a click enlarges")
    rows: dict[str, list] = {}
    for sample in drawn:
        rows.setdefault(condition(sample, whole=True), []).append(sample)
    shown = []
    for row in list(rows.values())[:ROWS]:
        beside = [
            (open_picture(file), f"{kind} reference")
            for kind, file in referred(folder, row[0]).items()
        ]
        shown.append(
            (
                condition(row[0]),
                beside,
                [
                    (open_picture(folder / sample["file"]), caption(sample))
                    for sample in row[:COLUMNS]
                ],
            )
        )
    refers = max(len(beside) for _, beside, _ in shown)
    page.gallery(
        ["reference"] * refers + [""] * max(len(images) for _, _, images in shown),
        [
            (said, [*beside, *[None] * (refers - len(beside)), *images])
            for said, beside, images in shown
        ],
    )
    trajectory(page, folder)
    config(page, folder)
    return page.write(folder / "report.html")


def sweep_page(folder: Path, jobs: Sequence[Mapping], rows: Sequence[Mapping], drawn) -> Path:
    """`report.html` of a sweep.

    It has its table, its curves, the same samples of every job, a trajectory, the configs' common
    part.

    Arguments:
        jobs: as `sdg.app.jobs` tells of them.
        rows: of the table.
        drawn: the curves, a matplotlib figure or None.
    """
    from sdg.report.pictures import open_picture

    page = Page(f"{len(jobs)} runs", folder.name)
    page.heading("Table: a click on a head sorts")
    page.table(rows)
    if drawn is not None:
        page.heading(
            "Curves, with 95 % intervals over conditions; of the kernel distance one deviation"
        )
        page.drawing(drawn)
    page.heading("The same seeds in every run; a click enlarges")
    heads, pictures = compared(jobs)
    page.gallery(
        heads,
        [
            (name, [cell and (open_picture(cell[0]), cell[1]) for cell in cells])
            for name, cells in pictures
        ],
    )
    for job in reversed(jobs):  # the last is mostly the strongest
        if (job["path"] / "trajectory.png").is_file():
            trajectory(page, job["path"], f" of {job['name']}")
            break
    config(page, jobs[0]["path"], f" of the first run, {jobs[0]['name']}" if len(jobs) > 1 else "")
    return page.write(folder / "report.html")


def compared(
    jobs: Sequence[Mapping],
) -> tuple[list[str], list[tuple[str, list[tuple[Path, str] | None]]]]:
    """The same samples of every job: what each is, and rows of pictures.

    A row is (name, (picture, caption) of each, None where a job has it not). A row of references
    stands above the rows that share it.
    """
    every = [{sample["index"]: sample for sample in samples(job["path"])} for job in jobs]
    first = list(every[0].values())
    shown = first[:: max(1, len(first) // COLUMNS)][:COLUMNS]
    said = [
        {condition(own[sample["index"]]) for own in every if sample["index"] in own}
        for sample in shown
    ]
    heads = [
        condition(sample) if len(conditions) == 1 else f"seed {sample['seed']}"
        for sample, conditions in zip(shown, said, strict=True)
    ]
    rows, above = [], None
    for job, own in zip(jobs, every, strict=True):
        here = [own.get(sample["index"]) for sample in shown]
        asked = [sample and {kind: sample.get(kind) for kind in REFERENCES} for sample in here]
        kept = [
            sample and next(iter(referred(job["path"], sample).values()), None) for sample in here
        ]
        if asked != above and any(kept):
            rows.append(("reference", [file and (file, file.name) for file in kept]))
        above = asked
        rows.append(
            (
                re.sub(r"[^\s=,[]*/", "", job["name"]).replace("guidance.gamma=", "γ\u00a0=\u00a0"),
                [
                    sample and (job["path"] / sample["file"], f"{job['name']}: {caption(sample)}")
                    for sample in here
                ],
            )
        )
    return heads, rows


def lines(metrics: Mapping):
    """(name, value, what belongs to it) of every figure, in few lines.

    An interval stands beside its figure.
    """

    def interval(found) -> str | None:  # over conditions: of one there is none
        return (
            f"95 %: {found[0]:.3g} to {found[1]:.3g}"
            if isinstance(found, list) and metrics["num_prompts"] > 1
            else None
        )

    for name, value in metrics.items():
        if (
            value is None
            or name.endswith("_interval")
            or name in ("gamma", "num_samples", "num_prompts")
        ):
            continue
        if isinstance(value, dict):
            for part, inner in value.items():
                if part == "peak_memory":
                    yield "peak memory of a process", f"{inner / 2**20:.0f} MiB", None
                elif inner is not None and not isinstance(inner, dict):
                    yield f"{name}: {part}", inner, interval(metrics.get(f"{name}_{part}_interval"))
                elif isinstance(inner, dict):
                    for factor, share in inner.items():
                        yield (
                            f"{name}: {part}, {factor}",
                            share,
                            interval(metrics.get(f"{name}_interval", {}).get(part, {}).get(factor)),
                        )
        elif isinstance(value, list):
            yield name, value[0], f"± {value[1]:.3g}"
        else:
            yield name, value, interval(metrics.get(f"{name}_interval"))


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number of things in words."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def trajectory(page: Page, folder: Path, of: str = "") -> None:
    if (folder / "trajectory.png").is_file():
        page.heading(f"From noise to image{of}: the predicted image at each step")
        page.picture(folder / "trajectory.png", "predicted images, from noise to image")


def config(page: Page, folder: Path, of: str = "") -> None:
    page.heading(f"Config{of}")
    page.text((folder / "config.yaml").read_text())


def caption(sample: Mapping) -> str:
    """What a sample was asked for and what the judge saw."""
    seen = " ".join(
        sample[name] for name in ("size", "pattern", "colour", "shape") if sample.get(name)
    )
    background = f" on {sample['background']}" if sample.get("background") else ""
    return f"{condition(sample)} | seed {sample['seed']}" + (
        f" | the judge sees: {seen}{background}" if seen else ""
    )


def samples(job: Path) -> list[dict]:
    """A run's table."""
    with open(job / "samples.csv", newline="") as file:
        return list(csv.DictReader(file))


def referred(job: Path, sample: Mapping) -> dict[str, Path]:
    """{similarity: picture of what a sample refers to}, as its run kept them."""
    file = job / "references.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    return {kind: job / kept[sample[kind]] for kind in REFERENCES if sample.get(kind) in kept}


def condition(sample: Mapping, whole: bool = False) -> str:
    """What a sample was asked to be like, in few words.

    Of a file that is its name alone, unless `whole`.
    """
    return " + ".join(
        Path(sample[name]).name if name in REFERENCES and not whole else sample[name]
        for name in CONDITIONS
        if sample.get(name)
    )
