"""What can be chosen and what was, in the framework's configs and in the user's own."""

from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sdg.errors import UserError, near

__all__ = ["check_similarities", "group_options"]


def group_options(group: str, conf: Path | None = None) -> list[str]:
    """The options of a config group on Hydra's search path; before there is one, of `conf`."""
    if GlobalHydra.instance().is_initialized():
        return GlobalHydra.instance().config_loader().get_group_options(group)
    return sorted(file.stem for file in (conf / group).glob("*.yaml")) if conf else []


def chosen_options(group: str) -> set[str]:
    """The files of a group that this run is composed of, whoever chose them."""
    job = HydraConfig.get()
    found = (
        GlobalHydra.instance()
        .config_loader()
        .compute_defaults_list(
            job.job.config_name, [*job.overrides.hydra, *job.overrides.task], RunMode.RUN
        )
    )
    paths = (default.config_path or "" for default in found.defaults)
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
    if not bare:
        return
    chosen, there = chosen_options("similarity"), group_options("similarity")
    for kind in bare:
        if kind in chosen:
            raise UserError(
                f"similarity={kind}: its config names no _target_, the class of the similarity; "
                "docs/extending.md says what it takes."
            )
        if kind not in there:
            raise UserError(
                f"similarity.{kind}: there is no such similarity{near(kind, there) or '.'} There "
                f"are: {', '.join(there)}; one of your own needs similarity.{kind}._target_."
            )
