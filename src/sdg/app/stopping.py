"""Ctrl-C, SIGTERM, a closed terminal and a scheduler's warning end a program where nothing is lost.

The first signal ends it at once; inside a step or a batch it ends when that is done. A second one
ends it there too.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sdg.errors import UserError

__all__ = ["SIGNALS", "STOP", "Stop", "Stopped", "stoppable", "stoppable_job", "unwrapped"]

NAMES = {"SIGINT": "Ctrl-C"} | {name: name for name in ("SIGTERM", "SIGUSR1", "SIGHUP")}
SIGNALS = {getattr(signal, name): text for name, text in NAMES.items() if hasattr(signal, name)}
# `timeout` and schedulers signal a process and its group: two signals that mean one.
TOGETHER = 1.0  # seconds
REPEAT = 0.05  # seconds until what was dropped is asked again
BEFORE = "nothing had begun; the same command starts it."


class Stopped(BaseException):
    """A signal asks the program to end.

    It is no Exception: what goes on after an error must not go on after this.
    """

    def __init__(self, signum: int):
        super().__init__(signum)
        self.name = SIGNALS[signal.Signals(signum)]
        # A warning announces SIGTERM, and counts as one.
        self.code = 128 + (signal.SIGINT if signum == signal.SIGINT else signal.SIGTERM)


class Stop:
    """What this process has been asked, and whether it may end now.

    Attributes:
        asked: the signal; None as long as there was none.
        unit: what must not be torn now, such as "step"; None where the process may end.
        between: whether it ends between two of them.
        job: whether only one job of a sweep ends, in a process of its own.
        report: what a stopped run has kept and how it goes on, for the last line.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets an earlier program of this process."""
        self.asked: int | None = None
        self.unit: str | None = None
        self.between = self.job = False
        self.report = BEFORE
        self.since, self.process = 0.0, os.getpid()

    def hold(self, unit: str) -> None:
        """From now on a signal waits until `release`."""
        self.release()
        self.unit = unit

    def release(self) -> None:
        """From now on a signal ends the process.

        Raises:
            Stopped: one came in the meantime.
        """
        self.unit = None
        if self.asked is not None:
            self.between = True
            raise Stopped(self.asked)

    def ask(self) -> None:
        """Takes over what another process of the same run was asked."""
        self.asked = self.asked or signal.SIGTERM

    def handle(self, signum: int, frame: object = None) -> None:
        """What a signal does."""
        if os.getpid() != self.process:  # a fork of this process: it is no run
            leave_to_the_system(signum)
            return
        again = self.asked is not None
        if again and (started_by_another() or time.monotonic() - self.since < TOGETHER):
            return
        if not again:
            self.asked, self.since = signum, time.monotonic()
        if again or self.unit is None:
            self.unit, self.between = None, False
            raise Stopped(self.asked or signum)
        if not started_by_another():  # `print` may be what the signal has interrupted
            with suppress(OSError):
                os.write(2, f"\n{waiting(signum, self.unit)}\n".encode())


STOP = Stop()


def waiting(signum: int, unit: str) -> str:
    name = SIGNALS[signal.Signals(signum)]
    return f"{name}: stopping after this {unit}; a second signal stops at once."


def say(text: str) -> None:
    """Prints the last line, if anybody reads it: Ctrl-C ends the `tee` of a pipe too."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
        sys.stdout.flush()
    except OSError:  # else Python would fail to write at its end, and change the exit code
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)


def end_output() -> None:
    """Lets Python end well where nobody reads the output any more, as after `| head -1`."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def started_by_another() -> bool:
    """Whether another process of the same run has started this one, and decides for it."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def leave_to_the_system(signum: int) -> None:
    """A worker leaves Ctrl-C to the process that it works for; any other signal ends it."""
    if signum != signal.SIGINT:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)


@contextmanager
def unwrapped() -> Iterator[None]:
    """Gives `Stopped` back where an error hides it.

    Python itself raises a RuntimeError from what stops a class that is being made. Before a run has
    begun an error that came up on the way out counts as the stop too: a library's objects may be
    half made.
    """
    try:
        yield
    except Exception as error:
        begun = STOP.report != BEFORE
        link: BaseException | None = error
        seen: set[int] = set()  # a chain of errors may be a ring
        while link is not None and id(link) not in seen:
            if isinstance(link, Stopped):
                raise link from None
            seen.add(id(link))
            link = link.__cause__ or (None if begun else link.__context__)
        raise


@contextmanager
def stoppable() -> Iterator[None]:
    """Ends the program by a signal with one line, and with the exit code 130 or 143."""
    with listening():
        try:
            with unwrapped():
                yield
        except Stopped as stopped:
            say("" if started_by_another() else f"\nstopped by {stopped.name}: {STOP.report}\n")
            sys.exit(stopped.code)


@contextmanager
def stoppable_job() -> Iterator[None]:
    """The same for a job of a sweep that a launcher runs in another process than the sweep's.

    Raises:
        UserError: a signal ended it, for the sweep to name.
    """
    if signal.getsignal(signal.SIGTERM) == STOP.handle:  # the sweep's own process
        yield
        return
    with listening():
        STOP.job = True
        try:
            with unwrapped():
                yield
        except Stopped as stopped:
            raise UserError(f"stopped by {stopped.name}: {STOP.report}") from None


@contextmanager
def listening() -> Iterator[None]:
    """Hears the signals; only a main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    STOP.reset()
    earlier, dropped = {signum: signal.getsignal(signum) for signum in SIGNALS}, sys.unraisablehook
    sys.unraisablehook = lambda unraisable: repeat_if_stopped(unraisable, dropped)
    for signum in SIGNALS:
        if earlier[signum] != signal.SIG_IGN:  # as in a shell's background job
            signal.signal(signum, STOP.handle)
    try:
        yield
    finally:
        sys.unraisablehook = dropped
        for signum, handler in earlier.items():
            signal.signal(signum, handler)


def repeat_if_stopped(unraisable: Any, otherwise: Callable[[Any], object]) -> None:
    """Signals once more where Python has dropped `Stopped`, as it does in a `__del__`."""
    signum = STOP.asked
    if signum is None or not isinstance(unraisable.exc_value, Stopped):
        otherwise(unraisable)
        return

    def repeat() -> None:
        if signal.getsignal(signum) == STOP.handle:  # the program is still at work
            os.kill(os.getpid(), signum)

    STOP.asked = None
    again = threading.Timer(REPEAT, repeat)
    again.daemon = True
    again.start()
