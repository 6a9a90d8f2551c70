"""Configs as plain dictionaries."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sdg.errors import UserError, first_line

__all__ = ["check_text", "load_yaml", "plain"]


def plain(config: DictConfig, resolve: bool = True) -> dict[str, Any]:
    """A config as a dictionary of plain values.

    Arguments:
        resolve: put the values of interpolations in their place.
    """
    values = OmegaConf.to_container(config, resolve=resolve)
    if not isinstance(values, dict):
        raise TypeError(f"a config is a dictionary, not a {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def check_text(words: Iterable[str]) -> None:
    """Refuses names and settings that no file of a run can hold.

    Raises:
        UserError: one has bytes that are no text in this locale.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{ascii(word)} holds bytes that are no {sys.getfilesystemencoding()}; rename what "
                "is named so, or choose a UTF-8 locale, such as LC_ALL=C.UTF-8."
            ) from None


def load_yaml(file: Path) -> DictConfig:
    """The config of a file; YAML that names classes is refused by its reader.

    Raises:
        UserError: it cannot be read, or holds no config.
    """
    try:
        config = OmegaConf.load(file)
    except Exception as error:  # YAML's, OmegaConf's, the disk's
        raise UserError(f"{file} is damaged or no config ({first_line(error)}).") from error
    if not isinstance(config, DictConfig):
        raise UserError(f"{file} holds no settings, but a {type(config).__name__}.")
    return config
