"""Hydra without work whose result nobody reads: most of the time of `--help`."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra._internal.hydra import Hydra

from sdg.app.importing import starts_quickly

__all__ = ["quick_hydra"]

# Words that bring configs of the user's own, or ask Hydra itself for its mode or help.
NEEDED = re.compile(r"--?c|.*hydra.(mode|help)")


@contextmanager
def quick_hydra(words: Sequence[str]) -> Iterator[None]:
    """Hydra lists all groups for a help that lists them itself, and composes each config twice.

    The second config is only asked for `hydra.mode`, which no config of ours has.

    Arguments:
        words: of the command line.
    """
    if not starts_quickly() or any(map(NEEDED.match, words)):
        yield
        return
    groups, mode = Hydra.format_config_groups, Hydra.get_mode
    Hydra.format_config_groups = lambda *_: ""  # type: ignore[method-assign]
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.format_config_groups, Hydra.get_mode = groups, mode  # type: ignore[method-assign]
