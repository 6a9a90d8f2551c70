"""How many threads are worth starting: no more than the CPUs that this process may use.

A container's CPU limit is a quota of time, which the libraries do not see: they start a thread for
each CPU of the machine, and the threads then wait for each other while the quota is used up.
"""

import os

from sdg.machine.cpus import cpu_limit, visible_cpus

__all__ = ["limit_threads"]


def limit_threads() -> None:
    """Sets OMP_NUM_THREADS to the CPU limit where that is below the CPUs that are visible.

    torch reads it when it is imported, and only then. What the user has set stays.
    """
    visible = visible_cpus()
    limit = cpu_limit()
    if limit is not None and limit < visible:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, int(limit))))
