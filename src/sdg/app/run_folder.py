"""The folder of a run, and whose it is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import read_write
from pytorch_lightning.utilities import rank_zero_only

from sdg.app.claim import claim, claimed
from sdg.app.empty_run import named_by_user
from sdg.errors import UserError

__all__ = ["first_process", "own_folder"]

NAMES = 100  # of folders that are tried for trainings which begin in one second


@contextmanager
def own_folder(training: bool) -> Iterator[Path]:
    """The run's folder, claimed by its first process.

    Trainings are named by the second in which they begin; the next of the same second gets a number
    too.

    Raises:
        UserError: another run is at work there.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    if not first_process():
        yield folder
        return
    free = training and not named_by_user(HydraConfig.get().overrides.hydra)
    names = [f"{folder.name}-{k}" for k in range(2, NAMES)] if free else []
    for place in (folder, *map(folder.with_name, names)):
        if free and (place / "config.yaml").exists():
            continue
        file = claim(place)
        if file is not None:
            with claimed(place, file):
                move(place)
                yield place
            return
    raise UserError(
        f"another run is at work in {folder}; wait until it has ended, or put this one elsewhere "
        "with hydra.run.dir=FOLDER."
    )


def move(folder: Path) -> None:
    """Makes this the folder of the job, for what Hydra and Lightning's launcher read."""
    job: Any = HydraConfig.instance().cfg
    if str(folder) != job.hydra.runtime.output_dir:
        with read_write(job.hydra), read_write(job.hydra.runtime):
            job.hydra.runtime.output_dir = job.hydra.run.dir = str(folder)


def first_process() -> bool:
    """Whether this is the one process that writes and prints."""
    # Lightning learns a node's number, where only NODE_RANK tells it, with its first trainer.
    return getattr(rank_zero_only, "rank", 0) == 0 and os.environ.get("NODE_RANK", "0") == "0"
