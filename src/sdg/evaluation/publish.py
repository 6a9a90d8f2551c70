"""A finished run or sweep, given to a logger.

That is figures, pictures, the table, the page, and what guided it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from sdg.io.csv_table import read_table
from sdg.io.shipped import on_this_machine

__all__ = ["publish"]


def publish(
    logger: Logger,
    folder: Path,
    figures: Mapping[str, float],
    table: str,
    weights: Iterable[str | Path] = (),
) -> None:
    """Logs what lies in a folder; each logger takes what it can show.

    Arguments:
        figures: numbers by name.
        table: file of the .csv.
        weights: files or folders kept as an artifact, so that a run can be traced to what guided
            it; what lies on a hub is not kept twice.
    """
    logger.log_metrics(dict(figures))
    pictures = [
        file
        for name in ("grid.png", "sweep.png", "curves.png", "trajectory.png")
        if (file := folder / name).is_file()
    ]
    if isinstance(logger, TensorBoardLogger):
        for file in pictures:
            logger.experiment.add_image(
                file.stem, np.asarray(Image.open(file).convert("RGB")), dataformats="HWC"
            )
    if isinstance(logger, WandbLogger):
        import wandb

        for file in pictures:
            logger.log_image(file.stem, [str(file)])
        rows = read_table(folder / table)
        head = list(rows[0])
        columns = map(typed, zip(*(row.values() for row in rows), strict=True))
        logger.log_table(
            Path(table).stem,
            columns=head,
            data=[list(row) for row in zip(*columns, strict=True)],
        )
        if (folder / "report.html").is_file():
            logger.experiment.log(
                {
                    "report": wandb.Html(
                        (folder / "report.html").read_text(encoding="utf-8"), inject=False
                    )
                }
            )
        for place in filter(None, map(on_this_machine, weights)):
            artifact = wandb.Artifact(place.stem, type="weights")
            (artifact.add_dir if place.is_dir() else artifact.add_file)(str(place))
            logger.experiment.log_artifact(artifact)
    logger.finalize("success")


def typed(column: tuple[str, ...]) -> list:
    """A column of a .csv as numbers, if it holds nothing else; else as it is.

    A number is None where its cell is empty.
    """
    try:
        return [float(cell) if cell else None for cell in column]
    except ValueError:
        return list(column)
