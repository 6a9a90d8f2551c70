"""The CPUs that this process may use."""

import os
from pathlib import Path

__all__ = ["cpu_limit", "usable_cpus", "visible_cpus"]


def usable_cpus() -> int:
    """How many are worth a process or thread each: the visible ones, or the limit if that is less.

    There is always one.
    """
    limit, visible = cpu_limit(), visible_cpus()
    return visible if limit is None else max(1, min(visible, int(limit)))


def visible_cpus() -> int:
    """The CPUs that the process may run on: its affinity, which the libraries heed themselves."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_limit(root: Path = Path("/")) -> float | None:
    """The CPU time a second that the control groups of this process allow; None without a limit.

    The smallest limit of its group and those above it counts, of version 1 and 2.

    Arguments:
        root: of the file system.
    """
    quotas = [quota for folder in groups(root) if (quota := quota_of(folder)) is not None]
    return min(quotas, default=None)


def groups(root: Path, controller: str = "cpu") -> list[Path]:
    """The folders of this process's groups that may hold a limit, those above them too.

    Inside a container the path of a group may be that of the host; the top is then its own.

    Arguments:
        root: of the file system.
        controller: whose limit.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for top in tops(root / "sys/fs/cgroup", controllers, controller):
            own = Path(path.lstrip("/"))
            folders += [top / part for part in (own, *own.parents)]
    return list(dict.fromkeys(folders))


def tops(mounted: Path, controllers: str, controller: str) -> list[Path]:
    """Where the tree of a group may be mounted: version 2 has no names of controllers."""
    return [mounted / controllers, mounted / controller] if controllers else [mounted]


def quota_of(folder: Path) -> float | None:
    """The limit of one group in CPUs: quota / period."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        limit = float(quota) / float(period)
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return limit if limit > 0 else None  # version 1 says -1 for none
