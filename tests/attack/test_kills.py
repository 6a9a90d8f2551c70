"""Sampling, training and sweeps killed at any moment end like undisturbed ones, byte for byte."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from attack import fresh
from attack.conftest import some
from attack.kept import contents, difference
from tiny_training import words

MOMENTS = 34  # of each program and signal in the whole attack, which makes 204
BY_CHANGES = 24  # of these, before a change of a file; the others at a time
LIMIT = 180  # seconds; a run takes some two


class Case(NamedTuple):
    """Which program is signalled how, and when.

    Arguments:
        moment: before this change of a file, or at this time, as a share of the undisturbed run's.
    """

    program: str
    signum: int
    by_changes: bool
    moment: float


def cases() -> list[Case]:
    """All of them: the moments lie evenly, each a little by chance."""
    chance, made = random.Random(17), []
    for program in PROGRAMS:
        for signum in (signal.SIGKILL, signal.SIGTERM):
            for k in range(MOMENTS):
                by_changes = k < BY_CHANGES
                place, of = (
                    (k, BY_CHANGES) if by_changes else (k - BY_CHANGES, MOMENTS - BY_CHANGES)
                )
                made.append(Case(program, signum, by_changes, (place + chance.random()) / of))
    return made


def sampling(folder: Path, quick: list[str]) -> list[str]:
    settings = ("batch_size=1", "num_samples=3", "eval.reading=false", f"hydra.run.dir={folder}")
    return ["sample.py", *quick, "data=shapes", *settings]


def sweep(folder: Path, quick: list[str]) -> list[str]:
    settings = ("batch_size=2", "num_samples=2", "guidance.gamma=0,5", "eval.reading=false")
    return ["sample.py", "-m", *quick, "data=shapes", *settings, f"hydra.sweep.dir={folder}"]


def training(folder: Path, quick: list[str]) -> list[str]:
    return [*words(folder, trainer__max_steps=6), "data=shapes"]


PROGRAMS: dict[str, Callable[[Path, list[str]], list[str]]] = {
    "sampling": sampling,
    "sweep": sweep,
    "training": training,
}


class Undisturbed(NamedTuple):
    contents: dict[str, object]
    changes: int
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(quick, tmp_path_factory) -> Callable[[str], Undisturbed]:
    """What a program leaves that nobody signals, its changes of files, and its time."""
    kept: dict[str, Undisturbed] = {}

    def of(program: str) -> Undisturbed:
        if program not in kept:
            first, second = (tmp_path_factory.mktemp(program) / "run" for _ in range(2))
            for folder in (first, second):  # the second is not slowed by a cold start
                begun = time.monotonic()
                process = fresh.start(PROGRAMS[program](folder, quick), folder)
                assert fresh.ended(process, LIMIT) == 0, fresh.log(folder)
            left = contents(second)
            assert not difference(left, contents(first))
            kept[program] = Undisturbed(left, changes(second), time.monotonic() - begun)
        return kept[program]

    return of


def changes(folder: Path) -> int:
    return int(folder.with_suffix(".changes").read_text())


def signalled(case: Case, command: list[str], folder: Path, whole: Undisturbed) -> int | None:
    """Starts a program, signals it at its moment, and returns its exit code."""
    if case.by_changes:
        change = 1 + int(case.moment * whole.changes)
        return fresh.ended(fresh.start(command, folder, change, case.signum), LIMIT)
    process = fresh.start(command, folder)
    process.join(case.moment * whole.seconds)
    fresh.send(process, case.signum)
    return fresh.ended(process, LIMIT)


def go_on(case: Case, command: list[str], folder: Path) -> int | None:
    """The same command again, for a training as the page on trainings says."""
    kept = any(folder.glob("checkpoints/*.ckpt"))
    more = ["resume=true"] if case.program == "training" and kept else []
    return fresh.ended(fresh.start([*command, *more], folder), LIMIT)


@pytest.mark.parametrize("case", some(cases(), 18), ids=str)
def test_a_killed_program_goes_on_to_the_same_bytes(case, undisturbed, quick, tmp_path, tally):
    whole, folder = undisturbed(case.program), tmp_path / "run"
    command = PROGRAMS[case.program](folder, quick)
    code, told = signalled(case, command, folder, whole), fresh.log(folder)
    stopped = "\nstopped by SIGTERM: "
    expected = {signal.SIGKILL: (-9, 0), signal.SIGTERM: (143, -15, 0)}[case.signum]
    again = None if code not in expected else go_on(case, command, folder)
    finished = again == 1 and "holds their weights" in fresh.log(folder)
    found = difference(whole.contents, contents(folder))
    if None in (code, again):
        tally.add("hang")
    elif "Traceback" in told + fresh.log(folder):
        tally.add("traceback")
    elif found or not (again == 0 or finished) or code == 143 and told.count(stopped) != 1:
        tally.add("wrong result")
    else:
        tally.add("right result" if code == 0 else "killed, and nothing lost")
    assert code in expected and (code != 143 or told.count(stopped) == 1), (code, told)
    assert again == 0 or finished, (again, told, fresh.log(folder))
    assert not found, (code, told, fresh.log(folder))
    assert "Traceback" not in told + fresh.log(folder)
