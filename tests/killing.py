"""A callback that attacks the run which it belongs to, and runs in processes of their own."""

import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

import pytorch_lightning as pl


class Attack(pl.Callback):
    """Signals its own process at a moment.

    Arguments:
        at: the hook of a callback.
        signum: the signal.
        count: the n-th time that the hook is called.
        times: so many signals.
        children: a file for the ids of this process's children.
    """

    def __init__(self, at: str, signum: int, count: int = 1, times: int = 1, children=None):
        self.left = count

        def attack(*_, **__) -> None:
            self.left -= 1
            if self.left == 0:
                if children is not None:
                    ids = [child.pid for child in multiprocessing.active_children()]
                    with open(children, "w") as file:
                        json.dump(ids, file)
                for _ in range(times):
                    os.kill(os.getpid(), signum)

        setattr(self, at, attack)


def words(at: str, signum: int, **options) -> list[str]:
    """The settings that put it among a run's callbacks."""
    settings = {"_target_": "killing.Attack", "at": at, "signum": int(signum), **options}
    return [f"+callbacks.attack.{key}={value}" for key, value in settings.items()]


def fork(function: Callable[[], object], log=None) -> int:
    """The id of a fork of this process that calls the function, and then ends by itself.

    It ends as the program would; what it prints is in the file `log`.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        if log is not None:
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
            sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        function()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        if not isinstance(stop.code, int):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 70
    finally:
        try:
            sys.stdout.flush()
        finally:
            os._exit(code)


def ended(pid: int, seconds: float) -> int | None:
    """How a fork has ended, as `subprocess` says it; None if it has not by then."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def gone(pid: int, seconds: float) -> bool:
    """Whether a process of any parent is gone by then."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
