"""Threads that wait for each other: spinning while the CPUs are theirs, asleep beside other work.

Networks of a few milliseconds make OpenMP's threads wait for each other thousands of times a
second. Threads that spin meanwhile are the fastest on an idle machine, and up to 50 times slower
beside one other busy process: they use up the time that the thread needs for which they wait.
Threads that sleep lose to nobody, and take up to a half longer on an idle machine.

GNU's OpenMP, the one of PyPI's torch on Linux, spins for some milliseconds, and sleeps at once
while a process has more threads than CPUs. So a watch reads how long the process's threads wait for
a CPU, and while that is long, keeps a few more threads, which do nothing.
"""

import os
import sys
import threading
import time
from pathlib import Path

from sdg.machine.cpus import usable_cpus, visible_cpus

__all__ = ["Watch", "cpu_wait", "share_cpus"]

# 300 000 spins are three milliseconds: longer than threads wait in a network of a few.
SETTINGS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "300000"}
WINDOW = 0.05  # seconds
BUSY, CALM = 0.25, 0.1  # seconds that threads wait for a CPU, in a second
SLEEP_AFTER, SPIN_AFTER = 2, 10  # windows after which the threads sleep, and may spin again
TASKS = Path("/proc/self/task")


def share_cpus() -> bool:
    """Lets torch's threads sleep beside other work, and spin where there is none.

    Call it before torch is imported, as our commands do. `OMP_WAIT_POLICY` and `GOMP_SPINCOUNT`
    stay as the user has set them. Threads always sleep where they are fewer than the CPUs, or
    where Linux's /proc does not say how long a thread waits for a CPU.

    Returns:
        Whether the threads may spin.

    Raises:
        RuntimeError: torch was imported before, and has read its settings.
    """
    if "torch" in sys.modules:
        raise RuntimeError("share_cpus() comes before torch is imported, which reads its settings.")
    given = {name: os.environ[name] for name in SETTINGS if name in os.environ}
    if given and given != SETTINGS:
        return False
    os.environ["OMP_WAIT_POLICY"] = SETTINGS["OMP_WAIT_POLICY"]
    if fewer_threads() or cpu_wait() is None:
        os.environ.pop("GOMP_SPINCOUNT", None)  # a parent process's
        return False
    os.environ.update(SETTINGS)
    Watch().start()
    return True


def fewer_threads() -> bool:
    """Whether torch will have another number of threads than there are CPUs, or one alone.

    So it is where the CPU time is limited below the CPUs that are visible.
    """
    cpus = visible_cpus()
    given = os.environ.get("OMP_NUM_THREADS", str(cpus))
    return cpus == 1 or given != str(cpus) or usable_cpus() < cpus


def cpu_wait(tasks: Path = TASKS) -> float | None:
    """Seconds that this process's threads have waited for a CPU; None where nothing tells it.

    Arguments:
        tasks: a folder a thread, with its `schedstat`: nanoseconds that it ran, that it waited,
            and how often it ran.
    """
    waits = [wait for task in folders(tasks) if (wait := wait_of(task)) is not None]
    return sum(waits) / 1e9 if waits else None


def folders(tasks: Path) -> list[Path]:
    try:
        return list(tasks.iterdir())
    except OSError:
        return []


def wait_of(task: Path) -> int | None:
    """Nanoseconds that one thread has waited for a CPU; None if it has ended."""
    try:
        return int((task / "schedstat").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None


class Watch(threading.Thread):
    """Has OpenMP's threads sleep at once while the process waits for CPUs."""

    def __init__(self) -> None:
        super().__init__(name="contention", daemon=True)
        self.busy = self.calm = 0  # windows in a row
        self.extra: threading.Event | None = None

    def run(self) -> None:
        last, then = cpu_wait() or 0.0, time.monotonic()
        while True:
            time.sleep(WINDOW)
            wait, now = cpu_wait() or 0.0, time.monotonic()
            self.update((wait - last) / (now - then))
            last, then = wait, now

    def update(self, share: float) -> None:
        """Takes account of a window.

        Arguments:
            share: seconds that threads waited for a CPU, in a second; of several threads together.
        """
        self.busy = self.busy + 1 if share > BUSY else 0
        self.calm = self.calm + 1 if share < CALM else 0
        if self.extra is None and self.busy >= SLEEP_AFTER and torch_is_there():
            self.extra = threading.Event()
            threading.Thread(target=hold_threads, args=(self.extra,), daemon=True).start()
        elif self.extra is not None and self.calm >= SPIN_AFTER:
            self.extra.set()
            self.extra = None


def torch_is_there() -> bool:
    """Whether torch is imported, and not just being imported."""
    module = sys.modules.get("torch")
    specification = getattr(module, "__spec__", None)
    return module is not None and not getattr(specification, "_initializing", True)


def hold_threads(end: threading.Event) -> None:
    """Keeps a second team of OpenMP's threads, so that there are more threads than CPUs."""
    import torch

    torch.zeros(1 << 18).exp_()  # large enough to be shared among threads: this makes the team
    end.wait()
