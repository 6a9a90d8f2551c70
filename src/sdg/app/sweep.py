"""What a sweep of `sample.py -m` adds up to.

That is one table, one picture of samples, one of curves, and a page with all of them.
"""

import json
import textwrap
from pathlib import Path
from typing import Any

from sdg.app.jobs import Jobs
from sdg.app.opening import shell_command
from sdg.io.csv_table import table_text
from sdg.report.curves import curves

__all__ = ["SweepReport"]

FIGURES = (
    "shows",
    "residual",
    "similarity",
    "frechet_imagenet",
    "frechet_imagenet_prompts",
    "frechet_judge",
    "precision_judge",
    "recall_judge",
    "diversity_judge",
    "seconds_per_sample",
)


class SweepReport(Jobs):
    """Ends a sweep of sampling runs.

    Every run lies in its own folder, found again by whatever sweep asks for it.
    """

    def report(self, folder: Path, jobs: list[dict], config) -> None:
        """Writes the files of a sweep, and prints the table.

        They are `sweep.csv`, `sweep.png`, `report.html` and, where a number was swept,
        `curves.png`.

        Arguments:
            folder: of the sweep.
            jobs: those that ended well.
            config: of the sweep.
        """
        from sdg.report.pages import sweep_page

        sampled = [
            job for job in jobs if (job["path"] / "samples.csv").is_file()
        ]  # eval=encoder draws no samples
        if sampled:
            names = [job["name"] for job in sampled]
            metrics = [
                json.loads((job["path"] / "metrics.json").read_text(encoding="utf-8"))
                for job in sampled
            ]
            rows = table_rows(sampled, metrics)
            (folder / "sweep.csv").write_text(table_text(rows), encoding="utf-8", newline="")
            print_table(rows)
            print(f"table: {folder / 'sweep.csv'}, with each attribute by itself")
            print(f"picture: {gallery(folder, sampled)}")
            figure = curves(names, metrics)
            if figure is not None:
                figure.savefig(folder / "curves.png", dpi=120)
            command = sweep_command(config.hydra)
            print(f"page: {sweep_page(folder, sampled, rows, figure, command)}")
            if config.logger:
                from hydra.utils import instantiate

                from sdg.evaluation.publish import publish

                publish(
                    instantiate(config.logger, save_dir=str(folder)),
                    folder,
                    {"runs": len(sampled)},
                    "sweep.csv",
                )
        super().report(folder, jobs, config)


def sweep_command(hydra) -> str:
    overrides = [*hydra.overrides.task, *hydra.overrides.hydra]
    return shell_command(hydra.job.config_name, overrides, sweep=True)


def table_rows(jobs: list[dict], metrics: list[dict]) -> list[dict]:
    """The lines of the table, one for each job.

    Arguments:
        metrics: what the `metrics.json` of each holds.
    """
    columns = attributes(metrics)
    own = list(dict.fromkeys(name for each in metrics for name in each.get("metrics", {})))
    return [row(job, each, columns, own) for job, each in zip(jobs, metrics, strict=True)]


def attributes(metrics: list[dict]) -> list[str]:
    """The attributes that any of the jobs' samples were read for, `all` last."""
    names = dict.fromkeys(name for each in metrics for name in each.get("alignment", {}))
    return [name for name in names if name != "all"] + ["all"]


def row(job: dict, metrics: dict, columns: list[str], own: list[str]) -> dict:
    """A job's line of the table.

    It has what its command said beside the others, its figures and its folder.

    Arguments:
        columns: the attributes.
        own: metrics of the user's own.
    """
    alignment, cost = metrics.get("alignment", {}), metrics.get("cost_per_sample", {})
    agreement, overlap = (
        next(iter(metrics.get(name, {}).values()), None) for name in ("agreement", "mask_iou")
    )  # with the first of a condition's references
    return (
        {"job": job["name"]}
        | {name: alignment.get(name) for name in columns}
        | {f"same_{name}": (agreement or {}).get(name) for name in columns[:-1]}
        | {"mask_iou": overlap}
        | {name: metrics.get(name) for name in FIGURES}
        | {name: metrics.get("metrics", {}).get(name) for name in own}
        | {"gflops_per_sample": cost["flops"] / 1e9 if cost else None, "folder": job["folder"]}
    )


def print_table(rows: list[dict]) -> None:
    """Prints the figures of all runs; those of single attributes stand in `sweep.csv`."""
    from rich.console import Console
    from rich.table import Table

    from sdg.report.pages import single_attributes
    from sdg.report.words import COLUMNS

    def measured(name: str) -> bool:
        return any(line[name] is not None for line in rows)

    left_out = ("folder", *single_attributes(rows[0]))
    columns = [name for name in rows[0] if name not in left_out and measured(name)]
    table = Table()
    for name in columns:
        title = COLUMNS.get(name, name.replace("_", " "))
        table.add_column("\n".join(title.split()), no_wrap=True)  # what tells rows apart is whole
    for line in rows:
        table.add_row(*(cell(line[name]) for name in columns))
    console = Console(markup=False)  # similarity=[text] is no style
    console.width = max(
        console.width, console.measure(table, options=console.options.update(width=1000)).maximum
    )
    console.print(table)


def cell(value: Any) -> str:
    """A value of the table as text."""
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def gallery(folder: Path, jobs: list[dict]) -> Path:
    """The same samples in every job, a row a job, below what they refer to.

    It shows what the swept setting does to each.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    from sdg.report.compared import compared
    from sdg.report.pictures import open_picture

    titles, rows = compared(jobs)
    figure, axes = plt.subplots(
        len(rows),
        len(titles),
        figsize=(1.15 * len(titles) + 1.3, 1.15 * len(rows) + 0.7),
        squeeze=False,
        layout="constrained",
    )
    for line, (name, cells) in zip(axes, rows, strict=True):
        for axis, picture in zip(line, cells, strict=True):
            axis.set(xticks=[], yticks=[])
            if picture:
                file, text, sample = picture
                axis.imshow(np.asarray(open_picture(file)), interpolation="nearest")
                if sample is None:  # a reference
                    axis.set_xlabel(textwrap.fill(text, 17), fontsize=6)
        words = [
            word if len(word) <= 20 else word.replace("=", " =\n", 1) for word in name.split(" ")
        ]
        line[0].set_ylabel("\n".join(words), rotation=0, ha="right", va="center", fontsize=9)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(textwrap.fill(title, 17), fontsize=6)
    figure.savefig(folder / "sweep.png", dpi=120)
    plt.close(figure)
    return folder / "sweep.png"
