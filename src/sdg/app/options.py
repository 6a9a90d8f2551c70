"""`${options:GROUP}` and `${settings:KEY,…}`: what can be chosen and set, for `--help`."""

import re

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from sdg.app.kinds import as_command_line_value
from sdg.app.setting_checks import setting_kind

__all__ = ["register_options"]

WIDTH = 34  # of key=value


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


def settings(*keys: str, _root_: DictConfig) -> str:
    """A line for each of these settings that the command has: its value, and what it may be."""
    program = "train" if "kind" in _root_ else "sample"
    lines = []
    for key in keys:
        section, _, name = key.rpartition(".")
        node = OmegaConf.select(_root_, section) if section else _root_
        if isinstance(node, DictConfig) and name in node:
            word = f"{key}={as_command_line_value(OmegaConf.select(_root_, key))}"
            kind = setting_kind(program, key, node.get("_target_", ""))
            lines.append(f"    {word:<{WIDTH}} {kind.words if kind else ''}")
    return "\n".join(lines)


def register_options() -> None:
    """Makes `${options:GROUP}` and `${settings:KEY,…}` known to configs."""
    OmegaConf.register_new_resolver("options", options, replace=True)
    OmegaConf.register_new_resolver("settings", settings, replace=True)
