"""A folder that holds something else than a run, and one that a refused command leaves."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from sdg.app.claim import CLAIM

__all__ = ["check_folder", "remove_refused"]

MARKS = ("config.yaml", "versions.json")  # what every run leaves at its start
SHOWN = 3  # files that a refusal names


def check_folder(config) -> None:
    """Ends the program where `hydra.run.dir` is a folder of other files and not of a run.

    It is for a callback, before Hydra writes there. Hydra goes on after any other exception of one.

    Arguments:
        config: of the job, with Hydra's own part.
    """
    if not is_named(config.hydra.overrides.hydra):
        return
    HydraConfig.instance().set_config(config)  # for `${hydra:…}` in the name; Hydra does it next
    folder = Path(config.hydra.run.dir)
    if folder.is_dir() and (others := foreign_files(folder)):
        more = ", …" if len(others) > SHOWN else ""
        sys.exit(
            f"error: hydra.run.dir={folder} holds files that are of no run of sampling or "
            f"training: {', '.join(others[:SHOWN])}{more}. Name an empty folder or a new one."
        )


def remove_refused() -> None:
    """Removes the folder that Hydra has made for a command which was refused before it began.

    One that the user named stays, and one that holds more than Hydra's own records.
    """
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    if is_named(job.overrides.hydra) or not folder.is_dir():
        return
    if {file.name for file in folder.iterdir()} <= {".hydra"}:
        shutil.rmtree(folder, ignore_errors=True)  # other processes do too


def is_named(words: Sequence[str]) -> bool:
    """Whether Hydra's part of a command line names the run's folder."""
    return any(word.startswith("hydra.run.dir=") for word in words)


def foreign_files(folder: Path) -> list[str]:
    """The files of a folder that no run has left, none where a run has."""
    from sdg.report.pages import COMMAND

    claimed = (folder / CLAIM).exists()  # by a run at work, or killed there
    if claimed or all((folder / name).is_file() for name in MARKS):
        return []
    start = (".hydra", COMMAND, "hparams.yaml", *MARKS)  # a run may have ended here
    return sorted(file.name for file in folder.iterdir() if file.name not in start)
