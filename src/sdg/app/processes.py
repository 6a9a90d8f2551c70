"""The processes of one run on this machine: none outlives the others.

Lightning launches one for each further device. Whichever is killed, the run ends with one line.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from pytorch_lightning.strategies.launchers import subprocess_script

from sdg.app.child_process import GO_ON, PARENT, launched_rank, write
from sdg.app.stopping import SIGNALS, STOP
from sdg.data.workers import EVERY

__all__ = ["ChildProcesses"]

TURN = 1.0  # seconds that a launched process leaves to each one before it, to say an error first
ENDING = 5.0  # seconds that one takes at most from its last line to its end
SAID = 1  # exit code of a process that has written its error


class ChildProcesses:
    """The processes that this one launches for a run.

    Arguments:
        launcher: Lightning's; None or another kind where somebody else launches them.
    """

    def __init__(self, launcher: Any = None):
        self.launcher, self.over = launcher, threading.Event()
        self.signals: socket.socket | None = None
        if not isinstance(launcher, subprocess_script._SubprocessScriptLauncher):
            return
        os.environ[PARENT] = str(os.getpid())
        self.forward_signals()
        # Lightning's own would end this process by SIGKILL, without a word.
        subprocess_script._launch_process_observer = lambda child_processes: None  # type: ignore
        threading.Thread(target=self.watch, name="watch launched processes", daemon=True).start()

    def forward_signals(self) -> None:
        """Hands signals on to the others at once.

        A thread does, since this process hears none while it waits for the others in a collective.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        heard, self.signals = socket.socketpair()
        self.signals.setblocking(False)
        signal.set_wakeup_fd(self.signals.fileno(), warn_on_full_buffer=False)

        def forward() -> None:
            while number := heard.recv(1):
                if number[0] in SIGNALS:
                    self.send(signal.SIGTERM)
            heard.close()

        threading.Thread(target=forward, name="forward signals", daemon=True).start()

    @property
    def processes(self) -> Sequence[subprocess.Popen]:
        """The processes that are launched so far."""
        return getattr(self.launcher, "procs", ())

    def watch(self) -> None:
        """Ends this process when one of the others was killed."""
        while not self.failed() and not self.over.wait(EVERY):
            pass
        self.judge()

    def failed(self) -> int:
        """The exit code of the first that has failed, 0 as long as none has."""
        return next((code for process in self.processes if (code := process.poll())), 0)

    def judge(self) -> None:
        """Ends this process, if another has failed: with one line, where that one wrote none."""
        code = self.failed()
        if not code or self.over.is_set() or STOP.asked is not None:
            return
        self.send(signal.SIGKILL)
        sys.stdout.flush()
        if code != SAID:
            write(f"{ending(code)}; the run ends. {GO_ON}")
        os._exit(1)

    def await_turn(self, known: bool) -> None:
        """Lets another process speak, after an error of this one.

        Where several meet the same error, the first process says it and ends the others. Where
        another's end has caused the error of the first, that one has said it, or `judge` does.

        Arguments:
            known: whether the error is of a kind that no other's end causes.
        """
        if rank := launched_rank():
            time.sleep(TURN * rank)
        elif self.processes and not known:
            until = time.monotonic() + ENDING
            while not self.failed() and time.monotonic() < until:
                time.sleep(EVERY)
            self.judge()

    def end(self, finish: bool) -> None:
        """Ends them.

        Arguments:
            finish: let each end what it is at.
        """
        self.over.set()
        if self.signals is not None:
            signal.set_wakeup_fd(-1)
            self.signals.close()
            self.signals = None
        try:
            for process in self.processes if finish else ():
                process.wait()
        finally:
            self.send(signal.SIGKILL)

    def send(self, signum: int) -> None:
        for process in self.processes:
            process.send_signal(signum)  # nothing to one that has ended


def ending(code: int) -> str:
    """How another process ended, in words."""
    if code > 0:
        return f"another process of this run ended with exit code {code}"
    name = signal.Signals(-code).name
    memory = ", perhaps since memory ran out" if name == "SIGKILL" else ""
    return f"another process of this run was killed by {name}{memory}"
