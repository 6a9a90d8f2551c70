"""A folder that the user names for a run, and that holds something else."""

import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from sdg.app.claim import CLAIM
from sdg.app.empty_run import named_by_user
from sdg.report.samples import COMMAND

__all__ = ["check_folder"]

MARKS = ("config.yaml", "versions.json")  # what every run leaves at its start
SAMPLES = "rows/run.json"  # what a sampling run leaves before these
SHOWN = 3  # files that a refusal names


def check_folder(config) -> None:
    """Ends the program where `hydra.run.dir` is a folder of other files and not of a run.

    It is for a callback, before Hydra writes there. Hydra goes on after any other exception of one.

    Arguments:
        config: of the job, with Hydra's own part.
    """
    if not named_by_user(config.hydra.overrides.hydra):
        return
    HydraConfig.instance().set_config(config)  # for `${hydra:…}` in the name; Hydra does it next
    folder = Path(config.hydra.run.dir)
    if folder.is_dir() and (others := foreign_files(folder)):
        more = ", …" if len(others) > SHOWN else ""
        sys.exit(
            f"error: hydra.run.dir={folder} holds files that are of no run of sampling or "
            f"training: {', '.join(others[:SHOWN])}{more}. Name an empty folder or a new one."
        )


def foreign_files(folder: Path) -> list[str]:
    """The files of a folder that no run has left, none where a run has."""
    claimed = (folder / CLAIM).exists()  # by a run at work, or killed there
    sampled = (folder / SAMPLES).is_file()
    if claimed or sampled or all((folder / name).is_file() for name in MARKS):
        return []
    start = (COMMAND, "hparams.yaml", *MARKS)  # a run may have ended here
    others = (file for file in folder.iterdir() if file.name not in start)
    return sorted(file.name for file in others if not is_empty(file))


def is_empty(place: Path) -> bool:
    """Whether it is a folder without files, or a file of no bytes: what a full disk leaves."""
    if place.is_dir():
        return all(file.is_dir() for file in place.rglob("*"))
    return place.stat().st_size == 0
