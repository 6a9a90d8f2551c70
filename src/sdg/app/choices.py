"""What can be chosen and what was, in the framework's configs and in the user's own."""

import re
import sys
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sdg.errors import UserError, near

__all__ = ["check_similarities", "group_files"]


def group_files(group: str, conf: Path) -> list[Path]:
    """The files of a config group, in `conf` and in the folders that the command line names.

    Hydra forgets its search path before an error of the command line arrives.
    """
    words = " ".join(sys.argv[1:])
    named = re.findall(r"(?:--config-dir|-cd)[= ](\S+)", words)
    for listed in re.findall(r"hydra\.searchpath=\[(.*?)\]", words):
        named += [place.strip(" '\"").removeprefix("file://") for place in listed.split(",")]
    folders = [conf, *(Path(place).expanduser() for place in named)]
    return [file for folder in folders for file in sorted((folder / group).glob("*.yaml"))]


def loader():
    """Hydra's, while a job runs."""
    return GlobalHydra.instance().config_loader()


def chosen_options(group: str) -> set[str]:
    """The files of a group that this run is composed of, whoever chose them."""
    job = HydraConfig.get()
    composed = loader().compute_defaults_list(
        job.job.config_name, [*job.overrides.hydra, *job.overrides.task], RunMode.RUN
    )
    paths = (default.config_path or "" for default in composed.defaults)
    return {path.removeprefix(f"{group}/") for path in paths if path.startswith(f"{group}/")}


def check_similarities(config: DictConfig) -> None:
    """Refuses a similarity that would have no effect.

    An experiment may set options of similarities that a run has not chosen, for those that have.

    Raises:
        UserError: a similarity was chosen and has no `_target_`, or there is none of that name.
    """
    if "_target_" in config.similarity:
        raise UserError(
            f"similarity: the file that names _target_: {config.similarity._target_} holds its "
            "options at the top; put them one level down, under the similarity's name, as in "
            "`hue: {_target_: …}`."
        )
    bare = [kind for kind, options in config.similarity.items() if "_target_" not in options]
    if not bare or not GlobalHydra.instance().is_initialized():  # as in some launchers' processes
        return
    chosen, known = chosen_options("similarity"), loader().get_group_options("similarity")
    words = [word.lstrip("+") for word in HydraConfig.get().overrides.task]
    for kind in bare:
        if any(word.startswith(f"similarity.{kind}.") for word in words):
            raise UserError(
                f"similarity.{kind}: this run has not chosen it; name it too, as in "
                f"similarity=[text,{kind}]."
            )
        if kind in chosen:
            raise UserError(
                f"similarity={kind}: its config names no _target_, the class of the similarity; "
                "docs/extending.md says what it takes."
            )
        if kind not in known:
            raise UserError(
                f"similarity.{kind}: there is no such similarity{near(kind, known) or '.'} There "
                f"are: {', '.join(known)}; one of your own needs similarity.{kind}._target_."
            )
