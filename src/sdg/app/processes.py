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

from sdg.app.launched import GO_ON, PARENT, write
from sdg.app.stopping import SIGNALS, STOP
from sdg.data.workers import EVERY

__all__ = ["Launched"]

GRACE = 5.0  # seconds that a process has for its own error after another's
ENDING = 30.0  # seconds that one takes at most from an error to its end, on a busy machine


class Launched:
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
        """Those that are launched so far."""
        return getattr(self.launcher, "procs", ())

    def watch(self) -> None:
        """Ends this process when one of the others was killed."""
        while not self.failed() and not self.over.wait(EVERY):
            pass
        if self.failed() > 0:  # this process may be about to say the same
            self.over.wait(GRACE)
        self.judge()

    def failed(self) -> int:
        """The exit code of the first that has failed, 0 as long as none has."""
        return next((code for process in self.processes if (code := process.poll())), 0)

    def judge(self) -> None:
        """Ends this process with one line, if another has failed."""
        code = self.failed()
        if not code or self.over.is_set() or STOP.asked is not None:
            return
        self.send(signal.SIGKILL)
        sys.stdout.flush()
        write(f"{ending(code)}; the run ends. {GO_ON}")
        os._exit(1)

    def await_judgement(self) -> None:
        """Finds out, after an error of this process, whether another's end has caused it.

        One that ends with an error of its own takes a while to end, and its connections end first.
        """
        if PARENT in os.environ:
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
        return "another process of this run ended with an error, which stands above"
    name = signal.Signals(-code).name
    memory = ", perhaps since memory ran out" if name == "SIGKILL" else ""
    return f"another process of this run was killed by {name}{memory}"
