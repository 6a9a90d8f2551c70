"""Several runs at once: into one folder exactly one; beside each other, with shared caches, all."""

from pathlib import Path
from typing import NamedTuple

import pytest
from attack import fresh
from attack.conftest import some
from attack.kept import contents, difference
from tiny_training import words

LIMIT = 300  # seconds
REFUSALS = ("another run is at work in", "holds the samples of another run", "steps already")


class Case(NamedTuple):
    """So many runs of a program, of the same settings or of each its own."""

    program: str
    count: int
    same: bool


CASES = [
    Case(program, count, same)
    for program in ("sample", "train")
    for count in (2, 4)
    for same in (True, False)
]


@pytest.fixture
def command(quick):
    """The command of the k-th run, into a folder."""

    def of(program: str, folder: Path, k: int = 0) -> list[str]:
        if program == "train":
            return [*words(folder, seed=k), "data=shapes"]
        settings = (f"seed={k}", "num_samples=2", "eval.reading=false", f"hydra.run.dir={folder}")
        return ["sample.py", *quick, "data=shapes", *settings]

    return of


def together(commands: list[list[str]], folders: list[Path]) -> list[tuple[int | None, str]]:
    """Starts them at once: the exit code of each, and what it printed."""
    logs = [folder.with_name(f"{k}.of") for k, folder in enumerate(folders)]
    started = [
        fresh.start(command, folder, log=log)
        for command, folder, log in zip(commands, folders, logs, strict=True)
    ]
    codes = [fresh.ended(process, LIMIT) for process in started]
    return list(zip(codes, map(fresh.log, logs), strict=True))


def refused(code: int | None, told: str) -> bool:
    """Whether it ended with one clear line."""
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    return code == 1 and len(errors) == 1 and any(reason in errors[0] for reason in REFUSALS)


@pytest.mark.parametrize("case", some(CASES, 3), ids=str)
def test_of_several_runs_of_one_folder_one_wins(case, command, tmp_path, tally):
    folder = tmp_path / "runs" / "run"
    folder.parent.mkdir()
    seeds = [0 if case.same else k for k in range(case.count)]
    commands = [command(case.program, folder, seed) for seed in seeds]
    ends = together(commands, [folder] * case.count)
    text = "\n".join(told for _, told in ends)
    winners = [k for k, (code, _) in enumerate(ends) if code == 0]
    losers = [refused(*ends[k]) for k in range(case.count) if k not in winners]
    # One that begins when the first has ended finds its samples there.
    expected = bool(winners) and all(losers) and (case.same or len(winners) == 1)
    alone = tmp_path / "alone" / "run"
    alone.parent.mkdir()
    (end,) = together([command(case.program, alone, seeds[winners[0]])], [alone])
    found = difference(contents(alone), contents(folder))
    if None in (end[0], *(code for code, _ in ends)):
        tally.add("hang")
    elif "Traceback" in text:
        tally.add("traceback")
    elif not expected or found:
        tally.add("wrong result")
    else:
        tally.add("right result", len(winners))
        tally.add("clear line", len(losers))
    assert "Traceback" not in text and expected and not found, (found, text)


def test_trainings_of_one_second_without_a_name_have_folders_of_their_own(command, tmp_path, tally):
    place = tmp_path / "runs" / "run"
    place.parent.mkdir()
    *unnamed, data = (word for word in command("train", place) if "run.dir" not in word)
    ends = together([[*unnamed, data]] * 2, [place] * 2)
    weights = sorted(place.parent.rglob("denoiser/**/*.safetensors"))
    same = len({file.read_bytes() for file in weights}) == 1
    right = [code for code, _ in ends] == [0, 0] and len(weights) == 2 and same
    tally.add("right result" if right else "wrong result", 2)
    assert right, ends


@pytest.mark.parametrize("count", some([2, 4], 1))
@pytest.mark.parametrize("program", ["sample", "train"])
def test_runs_that_fill_one_cache_give_what_one_alone_gives(
    program, count, command, tmp_path, tally
):
    def cached(folder: Path) -> list[str]:
        kept = [word for word in command(program, folder) if "data.cache" not in word]
        real = ["eval.cache=../shared/real"] if program == "sample" else []
        return [*kept, "data.cache=../shared/data", *real]

    folders = [tmp_path / "together" / str(k) / "run" for k in range(count)]
    alone = tmp_path / "alone" / "0" / "run"
    for folder in (*folders, alone):
        folder.parent.mkdir(parents=True)
    ends = together(list(map(cached, folders)), folders) + together([cached(alone)], [alone])
    text = "\n".join(told for _, told in ends)
    found = [difference(contents(alone), contents(folder)) for folder in folders]
    caches = [contents(folder.parents[1] / "shared") for folder in (alone, folders[0])]
    right = not any(found) and not any(code for code, _ in ends) and caches[0] == caches[1] != {}
    tally.add("right result" if right else "wrong result", count)
    assert right, (found, [sorted(cache) for cache in caches], text)
