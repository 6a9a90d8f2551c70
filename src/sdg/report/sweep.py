"""What a sweep of `sample.py -m` adds up to: one table, one picture of samples, one of curves."""

import csv
import json
import textwrap
from pathlib import Path

from sdg.report.jobs import Jobs

__all__ = ["SweepReport"]

REFERENCES = ("content", "structure", "style")
WISHES = ("prompt", "class", *REFERENCES)
FIGURES = ("similarity", "frechet_judge", "precision_judge", "recall_judge", "diversity_judge", "seconds_per_sample")
COLUMNS = ("shape", "colour", "pattern", "size", "background", "all")


class SweepReport(Jobs):
    """Ends a sweep of sampling runs: every run lies in its own folder, found again by whatever sweep asks for it."""

    def report(self, folder: Path, jobs: list[dict]) -> None:
        """Writes `sweep.csv`, `sweep.png` and, where one number was swept, `curves.png`, and prints the table.

        Arguments:
            folder: of the sweep.
            jobs: those that ended well.
        """
        if jobs:
            rows = table(jobs)
            with open(folder / "sweep.csv", "w", newline="") as file:
                lines = csv.DictWriter(file, fieldnames=rows[0].keys())
                lines.writeheader()
                lines.writerows(rows)
            print_table(rows)
            print(f"picture: {gallery(folder, [job['path'] for job in jobs], [row['job'] for row in rows])}")
            curves(folder, rows)
        super().report(folder, jobs)


def table(jobs: list[dict]) -> list[dict]:
    """A line for each job: what its command said beside the others, its figures and its folder."""
    rows = []
    for job in jobs:
        metrics = json.loads((job["path"] / "metrics.json").read_text())
        alignment, cost = metrics.get("alignment", {}), metrics.get("cost_per_sample", {})
        rows.append({"job": job["name"]} | {name: alignment.get(name) for name in COLUMNS} | {
            name: metrics.get(name) for name in FIGURES} | {"gflops_per_sample": cost["flops"] / 1e9 if cost else None, "folder": job["folder"]})
    return rows


def print_table(rows: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    measured = [name for name in rows[0] if name != "folder" and any(line[name] is not None for line in rows)]
    table = Table()
    for name in measured:
        table.add_column(name.replace("_", "\n"), no_wrap=True)  # what tells the rows apart is never cut
    for line in rows:
        table.add_row(*("" if line[name] is None else f"{line[name]:.3g}" if isinstance(line[name], float) else str(line[name]) for name in measured))
    console = Console()
    console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
    console.print(table)


def gallery(folder: Path, jobs: list[Path], names: list[str], columns: int = 12) -> Path:
    """The same samples in every job, a row a job: what the swept setting does to each."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with open(jobs[0] / "samples.csv", newline="") as file:
        samples = list(csv.DictReader(file))
    shown = samples[:: max(1, len(samples) // columns)][:columns]
    figure, axes = plt.subplots(len(jobs), len(shown), figsize=(1.15 * len(shown) + 1.3, 1.15 * len(jobs) + 0.7), squeeze=False, layout="constrained")
    for line, job, name in zip(axes, jobs, names):
        for axis, sample in zip(line, shown):
            axis.set(xticks=[], yticks=[])
            if (job / sample["file"]).is_file():
                axis.imshow(plt.imread(job / sample["file"]), interpolation="nearest")
        line[0].set_ylabel(name.replace("guidance.gamma=", "γ = "), rotation=0, ha="right", va="center", fontsize=9)
    for axis, sample in zip(axes[0], shown):
        axis.set_title(textwrap.fill(wish(sample), 17), fontsize=6)
    figure.savefig(folder / "sweep.png", dpi=120)
    plt.close(figure)
    return folder / "sweep.png"


def wish(sample: dict) -> str:
    """What a sample was asked to be like, in few words."""
    return " + ".join(Path(sample[name]).name if name in REFERENCES else sample[name] for name in WISHES if sample.get(name))


def curves(folder: Path, rows: list[dict]) -> None:
    """Alignment and distance over the swept number, where exactly one was swept."""
    import matplotlib.pyplot as plt

    keys = {r["job"].partition("=")[0] for r in rows}
    try:
        values = [float(r["job"].partition("=")[2]) for r in rows]
    except ValueError:
        return
    if len(keys) != 1 or len(rows) < 2:
        return
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), sharex=True, layout="constrained")
    order = sorted(range(len(rows)), key=values.__getitem__)
    xs = [values[i] for i in order]
    for name in COLUMNS:
        if all(rows[i][name] is not None for i in order):
            left.plot(xs, [rows[i][name] for i in order], marker="o", ms=3, lw=2.5 if name == "all" else 1, color="black" if name == "all" else None, label=name)
    left.set(ylim=(0, 1.02), ylabel="share of samples that show it")
    if left.lines:
        left.legend(fontsize=7)
    if all(rows[i]["frechet_judge"] is not None for i in order):
        right.plot(xs, [rows[i]["frechet_judge"] for i in order], marker="o", ms=3, color="firebrick")
    right.set(ylabel="Fréchet distance (judge)")
    left.set_xscale("symlog", linthresh=min((abs(x) for x in xs if x), default=1.0), linscale=0.4)
    left.set_xticks(xs, [f"{x:g}" for x in xs])
    for axis in (left, right):
        axis.set_xlabel(next(iter(keys)))
        axis.grid(alpha=0.3)
    figure.savefig(folder / "curves.png", dpi=120)
    plt.close(figure)
