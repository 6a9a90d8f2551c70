"""Configs as plain dictionaries."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

__all__ = ["loaded", "plain"]


def plain(config: DictConfig, resolve: bool = True) -> dict[str, Any]:
    """A config as a dictionary of plain values.

    Arguments:
        resolve: put the values of interpolations in their place.
    """
    values = OmegaConf.to_container(config, resolve=resolve)
    if not isinstance(values, dict):
        raise TypeError(f"a config is a dictionary, not a {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def loaded(file: Path) -> DictConfig:
    """The config of a file."""
    config = OmegaConf.load(file)
    if not isinstance(config, DictConfig):
        raise TypeError(f"{file} holds no dictionary")
    return config
