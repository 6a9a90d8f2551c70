"""The programs in forks of a process that has imported all they need, and computed nothing.

A fork of a process that has computed may hang: threads do not come along.
"""

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *("sdg.app.cli", "sdg.app.sample", "sdg.app.train", "sdg.app.sweep"),
        *("sdg.training.averaging", "sdg.training.progress", "hydra.main", "rich.table"),
        *("diffusers.pipelines.ddpm.pipeline_ddpm", "matplotlib.pyplot", "antlr4"),
    ]
)
# What Python's audit hooks call the changes of a folder, beside a file that is opened to write.
CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "shutil.rmtree")


def start(
    words: Sequence[str],
    folder: Path,
    change: int = 0,
    signum: int = signal.SIGKILL,
    log: Path | None = None,
) -> BaseProcess:
    """Starts a program: `sample.py` or `train.py` and its settings.

    What it prints is in FOLDER.log, and how many changes of files it made in FOLDER.changes.
    It works in the folder above.

    Arguments:
        folder: that it writes to.
        change: it signals itself before this change of a file there; 0 never.
        log: with this name instead, for one of several programs of a folder.
    """
    arguments = ([*words], folder, change, signum, log or folder)
    process = FORKS.Process(target=program, args=arguments)
    process.start()
    return process


def ended(process: BaseProcess, seconds: float) -> int | None:
    """The exit code; None if it had not ended by then, and was killed."""
    process.join(seconds)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    return code


def send(process: BaseProcess, signum: int) -> None:
    """Signals it, if it has not ended."""
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, signum)


def log(folder: Path) -> str:
    """What the program of this folder has printed last; nothing, if it was killed before."""
    file = folder.with_suffix(".log")
    return file.read_text() if file.exists() else ""


def program(words: list[str], folder: Path, change: int, signum: int, name: Path) -> None:
    """What a fork does; it ends as the program would."""
    os.chdir(folder.parent)
    file = os.open(name.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (open(number, "w", 1, closefd=False) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    watch(folder, change, signum, name)
    code = 0
    try:
        run(words)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    os._exit(code)


def run(words: list[str]) -> None:
    from sdg.app import commands

    sys.argv = words
    getattr(commands, words[0].removesuffix(".py"))()


def watch(folder: Path, change: int, signum: int, name: Path) -> None:
    """Counts this process's changes of files in a folder, and signals it before one."""
    counter = os.open(name.with_suffix(".changes"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    process, inside, done = os.getpid(), str(folder), 0

    def hook(event: str, values: tuple) -> None:
        nonlocal done
        if not changes(event, values, inside) or os.getpid() != process:
            return
        done += 1
        os.pwrite(counter, str(done).encode(), 0)
        if done == change:
            os.kill(process, signum)

    sys.addaudithook(hook)


def changes(event: str, values: tuple, folder: str) -> bool:
    """Whether an audited event changes a file below a folder."""
    if event == "open":
        name, mode, flags = values
        writes = flags & (os.O_WRONLY | os.O_RDWR) if mode is None else set("wax+") & set(mode)
        return bool(writes) and str(name).startswith(folder)
    return event in CHANGES and str(values[0]).startswith(folder)
