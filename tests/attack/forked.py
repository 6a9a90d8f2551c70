"""A command in a forked child of this process, which has imported what it needs already."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Arguments:
        code: of the exit; None where the time was up.
        out, err: what it printed.
        seconds: that it took of a CPU.
    """

    code: int | None
    out: str
    err: str
    seconds: float


def forked(call: Callable[[], None], folder: Path, limit: float) -> Ended:
    """Runs `call` in a child, in `folder`, for at most `limit` seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if not child:
        run_child(call, folder)
    code, seconds = wait(child, time.monotonic() + limit)
    out, err = ((folder / name).read_text(errors="replace") for name in ("out", "err"))
    return Ended(code, out, err, seconds)


def run_child(call: Callable[[], None], folder: Path) -> None:
    """What the child does; it never returns."""
    os.setsid()
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))
    code = 0
    try:
        call()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: int, deadline: float) -> tuple[int | None, float]:
    """The exit code of a child, None if it had to be killed; the CPU's seconds that it took."""
    done, status, used = 0, 0, None
    while not done and time.monotonic() < deadline:
        done, status, used = os.wait4(child, os.WNOHANG)
        time.sleep(0 if done else 0.01)
    if not done:
        os.killpg(child, signal.SIGKILL)
        _, _, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    return (os.waitstatus_to_exitcode(status) if done else None), seconds
