"""The folder that a refused run leaves, which nobody named."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

__all__ = ["named_by_user", "remove_empty_run"]


def remove_empty_run(left: Sequence[str] = ()) -> None:
    """Removes the folder of a run that was refused at its start.

    A folder that the user named stays, and one with more than such a run leaves.

    Arguments:
        left: names of the files that it leaves.
    """
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    if named_by_user(job.overrides.hydra) or not folder.is_dir():
        return
    if {file.name for file in folder.iterdir()} <= set(left):
        shutil.rmtree(folder, ignore_errors=True)  # other processes of the run may do so too


def named_by_user(words: Sequence[str]) -> bool:
    """Whether Hydra's part of a command line names the run's folder."""
    names = ("hydra.run.dir=", "hydra.sweep.subdir=")
    return any(word.startswith(names) for word in words)
