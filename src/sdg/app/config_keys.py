"""The keys of the framework's configs, for messages about a key that is not one of them."""

import re
from collections.abc import Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig

from sdg.app.plain import load_yaml, plain
from sdg.io.plain import flat

__all__ = ["config_keys", "options_in"]


def options_in(file: Path) -> list[str]:
    """The options of one choice of a group, dotted."""
    config = plain(load_yaml(file), resolve=False)
    parts = [name for name, part in config.items() if isinstance(part, dict)]
    return [*config, *(key for name in parts for key in flat(config[name], f"{name}."))]


def config_keys(conf: Path, config_name: str) -> list[str]:
    """Every key of the default config, dotted, and the names of its groups."""
    outer = get_gh_backup()  # of the command, whose other jobs need it
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose(config_name)
    restore_gh_from_backup(outer)
    defaults = (conf / f"{config_name}.yaml").read_text(encoding="utf-8")
    groups = [
        folder.name
        for folder in conf.iterdir()
        if re.search(rf"^  - (optional )?{folder.name}:", defaults, re.MULTILINE)
    ]
    return [*groups, *dotted_keys(config)]


def dotted_keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """The keys of a config and of all that is nested in it."""
    for key in map(str, node):
        yield prefix + key
        child = node._get_node(key)
        if (
            isinstance(child, DictConfig)
            and not child._is_none()
            and not child._is_missing()
            and not child._is_interpolation()
        ):
            yield from dotted_keys(child, f"{prefix}{key}.")
