"""`${options:GROUP}`: the options of a config group, for the text of `--help`."""

import re

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

__all__ = ["register_options"]


def options(group: str, *omitted: str, _root_: DictConfig) -> str:
    """The names of a group's options, those that the command has chosen first.

    Arguments:
        omitted: options of the other program.
    """
    names = [
        name
        for name in GlobalHydra.instance().config_loader().get_group_options(group)
        if name not in omitted
    ]
    choice = _root_.hydra.runtime.choices.get(group)
    chosen = list(_root_.get(group) or {}) if choice is None else re.findall(r"\w+", choice)
    first = [name for name in names if name in chosen]
    return ", ".join([*first, *(name for name in names if name not in first)])


def register_options() -> None:
    """Makes `${options:GROUP}` known to configs."""
    OmegaConf.register_new_resolver("options", options, replace=True)
