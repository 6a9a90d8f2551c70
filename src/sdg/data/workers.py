"""Processes that read data end with the training that they read for."""

import os
import signal
import threading
import time
from collections.abc import Callable

__all__ = ["end_with", "serve"]

EVERY = 0.3  # seconds between two looks


def end_with(parent: int, before: Callable[[], None] = lambda: None) -> None:
    """Ends this process as soon as it is no longer the child of `parent`, however that one ended.

    Arguments:
        parent: id of a process.
        before: called before the end.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(EVERY)
        before()
        os._exit(1)

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()


def serve(worker: int) -> None:
    """Begins a worker of a DataLoader or of a pool.

    It lives as long as its training: signals to a whole group of processes are for that one.

    Arguments:
        worker: its number.
    """
    end_with(os.getppid())
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
