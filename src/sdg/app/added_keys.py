"""Keys that a command line adds with +: one that nothing reads is refused."""

from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig

from sdg.app.choices import loader

__all__ = ["UnknownKey", "check_added_keys"]

CLOSED = ("denoiser", "encoder", "eval", "preset", "schedule")  # sections whose keys are all known
OPEN = ("denoiser.network", "encoder.model", "eval.metrics")  # but for what these hold


class UnknownKey(Exception):
    """A key that no part of a config has.

    Arguments:
        key: dotted.
    """

    def __init__(self, key: str):
        super().__init__(key)
        self.key = key


def check_added_keys(config_name: str) -> None:
    """Refuses a key that the command line adds and nothing reads.

    What a `_target_` makes knows its own options, and callbacks and similarities may be added.

    Raises:
        UnknownKey: there is one.
    """
    job = HydraConfig.get()
    words = list(job.overrides.task)
    if not any(word.startswith("+") for word in words):
        return
    if not GlobalHydra.instance().is_initialized():  # as in some launchers' processes
        return
    overrides = OverridesParser.create().parse_overrides(words)
    chosen = [each for each in overrides if is_group(each)]
    groups = [each.input_line or "" for each in chosen]
    base = loader().load_configuration(config_name, [*job.overrides.hydra, *groups], RunMode.RUN)
    for each in overrides:
        if (each.is_add() or each.is_force_add()) and each not in chosen:
            if not is_open(base, each.key_or_group, config_name):
                raise UnknownKey(each.key_or_group)


def is_group(override: Override) -> bool:
    """Whether it chooses a file of a config group."""
    return bool(loader().get_group_options(override.key_or_group))


def is_open(base: DictConfig, key: str, config_name: str) -> bool:
    """Whether a config has this dotted key, or a place where any key may be added.

    Arguments:
        base: the config without what was added.
    """
    node: Any = base
    path = ""
    for name in key.split("."):
        if name not in node:
            return bool(path) and not is_closed(node, path, config_name)
        below, path = node._get_node(name), f"{path}.{name}".lstrip(".")
        if not isinstance(below, DictConfig) or below._is_none():
            return True
        node = below
    return True


def is_closed(node: DictConfig, path: str, config_name: str) -> bool:
    """Whether all keys of a section are known."""
    if path.partition(".")[0] not in CLOSED or path.startswith(OPEN):
        return False
    # A training makes nothing of the encoder's `_target_`.
    return "_target_" not in node or (config_name == "train" and path == "encoder")
