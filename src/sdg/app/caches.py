"""Where what can be computed again is kept: rendered images, and what was read off real ones."""

import os
import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sdg.app.plain import plain
from sdg.io.shipped import CHECKOUT

__all__ = ["VARIABLE", "cache_folder", "cache_name", "register_caches"]

VARIABLE = "SDG_CACHE"
REFERENCE = re.compile(r"\$\{cache:(.+)\}")


def cache_folder(name: str, chosen: str | None = None) -> str:
    """The folder of one cache.

    It lies in the folder `chosen`, else in that of the environment variable SDG_CACHE. Without
    either it is the checkout's own folder of this name, and where there is no checkout it lies in
    `sdg` below XDG_CACHE_HOME or `~/.cache`.

    Arguments:
        name: the cache's folder in a checkout, such as `data/portraits`; elsewhere its last part.
        chosen: the setting `cache`.
    """
    folder = chosen or os.environ.get(VARIABLE)
    if folder:
        return str(Path(folder).expanduser() / Path(name).name)
    if CHECKOUT is not None:
        return name if Path.cwd() == CHECKOUT else str(CHECKOUT / name)
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return str(Path(caches).expanduser() / "sdg" / Path(name).name)


def cache_name(config: DictConfig) -> str | None:
    """The name of the cache that a config's `data` refers to; None where a user gave a folder.

    It is the same on every machine, unlike the folder.
    """
    written = plain(config.data, resolve=False).get("cache")
    reference = REFERENCE.fullmatch(str(written))
    return reference and reference[1]


def register_caches() -> None:
    """Makes `${cache:NAME}` known to configs."""
    OmegaConf.register_new_resolver(
        "cache",
        lambda name, *, _root_: cache_folder(name, _root_.get("cache")),
        replace=True,
    )
