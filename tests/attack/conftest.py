"""The attack's own fixtures: how many cases it takes, and what came of each."""

import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from attacking import outcome

Case = TypeVar("Case")

# What may come of a case. All but the first three are failures.
OUTCOMES = (
    "clear line",
    "right result",
    "killed, and nothing lost",
    "traceback",
    "hang",
    "wrong result",
    "code executed",
)


class Tally:
    """Counts what came of the cases of one test; the end of the run prints the sums."""

    def __init__(self, properties: list[tuple[str, object]]):
        self.properties = properties

    def add(self, outcome: str, count: int = 1) -> None:
        """Counts cases that ended in one of `OUTCOMES`."""
        if outcome not in OUTCOMES:
            raise ValueError(f"{outcome!r} is none of {OUTCOMES}")
        self.properties.append(("attack", (outcome, count)))


class Attack:
    """Runs hostile cases, and counts what comes of them."""

    def __init__(self, tally, folder):
        self.tally, self.folder = tally, folder
        self.marker, self.log = folder / "code was run", folder / "log"
        self.failed: list[str] = []

    def case(self, name: str, function, right=lambda: False) -> None:
        """Counts what comes of a call.

        Arguments:
            right: whether its result is, if it goes through; a file of weights may not.
        """
        came = outcome(function, self.log, self.marker)
        if came == "accepted":
            came = "right result" if right() else "wrong result"
        self.tally.add(came)
        if came not in ("clear line", "right result"):
            self.failed.append(f"{name}: {came}\n{self.log.read_text(errors='replace')[-1500:]}")

    def end(self) -> None:
        assert not self.failed, f"{len(self.failed)} cases:\n" + "\n".join(self.failed)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.attack)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Where a test counts its cases."""
    return Tally(request.node.user_properties)


@pytest.fixture
def attack(tally, tmp_path):
    attacked = Attack(tally, tmp_path)
    yield attacked
    attacked.end()


def some(cases: Sequence[Case], count: int) -> list[Case]:
    """All cases for `ATTACK=whole`, else `count` of them, the same ones every time."""
    if os.environ.get("ATTACK") == "whole" or count >= len(cases):
        return list(cases)
    return random.Random(0).sample(list(cases), count)


def pytest_terminal_summary(terminalreporter: object) -> None:
    """Prints the sums."""
    sums: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():  # type: ignore[attr-defined]
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, value in report.user_properties:
                if name == "attack":
                    sums[value[0]] += value[1]
    if not sums:
        return
    terminalreporter.write_sep("=", "attack")  # type: ignore[attr-defined]
    for each in OUTCOMES:
        terminalreporter.write_line(f"{sums[each]:6} {each}")  # type: ignore[attr-defined]
    terminalreporter.write_line(f"{sums.total():6} cases")  # type: ignore[attr-defined]
