"""The memory that this process may still take."""

from pathlib import Path

from sdg.machine.cpus import groups

__all__ = ["available_memory"]

# Files of a control group: the limit, and what is taken, of version 2 and 1.
LIMITS = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes of memory that are free, or left of the smallest limit of a control group.

    None where the system does not say it.

    Arguments:
        root: of the file system.
    """
    left = [free_memory(root)]
    for folder in groups(root, "memory"):
        left += [left_of(folder / limit, folder / taken) for limit, taken in LIMITS]
    return min((number for number in left if number is not None), default=None)


def free_memory(root: Path) -> int | None:
    """What programs may take without swapping, of the whole machine."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def left_of(limit: Path, taken: Path) -> int | None:
    """What a group may still take; None without a limit."""
    try:
        return max(0, int(limit.read_text()) - int(taken.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return None
