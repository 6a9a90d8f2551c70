"""How soon a command answers: wall and CPU time, medians of interleaved runs.

    python benchmarks/start.py [--runs 5]

`--help`; from the command to the first call of the denoiser, with its parts; the figures of a
finished run once more; wrong input. The targets are of wall time on an idle machine; beside other
work the CPU time is what counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUN = ("data=portraits", "num_samples=1")
# {what: (words, target in seconds)}
ANSWERS = {
    "--help": (("--help",), 0.6),
    "a finished run again": (RUN, 2.0),
    "wrong word": ((*RUN, "sampler=dddim"), 1.0),
    "value out of range": ((*RUN, "sampler.steps=0"), 1.0),
    "missing file": ((*RUN, "prompts=none.txt"), 1.0),
    "unknown prompt word": ((*RUN, "prompt=a zebra"), 1.0),
}
FIRST_CALL = 4.0
PARTS = ("Hydra", "imports", "building", "first call of the denoiser", "the rest of the run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        place = f"hydra.run.dir={folder}/run"
        spent: dict[str, list] = {what: [] for what in ANSWERS}
        marks = []
        for _ in range(runs):
            marks.append(marked((*RUN, place, "rerun=true")))
            for what, (words, _) in ANSWERS.items():
                own = () if what == "--help" else (place,)
                spent[what].append(measured([sys.executable, "sample.py", *words, *own]))
    print(f"{'':32}wall s   CPU s   target s")
    for what, (_, target) in ANSWERS.items():
        line(what, spent[what], target)
    for k, part in enumerate(PARTS):
        line(f"  {part}", [(run[k + 1][0] - run[k][0], run[k + 1][1] - run[k][1]) for run in marks])
    line("to the first call", [run[3] for run in marks], FIRST_CALL)
    line("the whole run", [run[-1] for run in marks])


def line(what: str, times: list[tuple[float, float]], target: float | None = None) -> None:
    wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{what:32}{wall:6.2f}  {cpu:6.2f}   {'' if target is None else target}")


def measured(command: list[str], **options) -> tuple[float, float]:
    """(wall, CPU) seconds of a command."""
    begun, before = time.perf_counter(), os.times()
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False, **options)
    after = os.times()
    cpu = after.children_user + after.children_system
    return time.perf_counter() - begun, cpu - before.children_user - before.children_system


def marked(words: tuple[str, ...]) -> list[tuple[float, float]]:
    """(wall, CPU) since the start of a run at the end of each of its parts, from (0, 0) on."""
    begun = time.time()
    command = [sys.executable, __file__, "--marked", *words]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    marks = json.loads(told.stderr.splitlines()[-1])
    return [(0.0, 0.0), *((wall - begun, cpu) for wall, cpu in marks)]


def run_marked(words: list[str]) -> None:
    """`sample.py` in this process, which ends by printing when each part ended."""
    sys.path.insert(0, str(ROOT / "src"))
    sys.argv = [str(ROOT / "sample.py"), *words]
    from sdg.app import commands

    marks: list[tuple[float, float]] = []

    def mark() -> None:
        spent = os.times()
        marks.append((time.time(), spent.user + spent.system))

    quick_imports = commands.quick_imports

    def imports(**options):
        mark()
        return Marked(quick_imports(**options), mark)

    commands.quick_imports = imports
    commands.sample()
    mark()
    print(json.dumps(marks), file=sys.stderr)


class Marked:
    """The imports of a run; at their end, the denoiser's first call is waited for."""

    def __init__(self, imports, mark):
        self.imports, self.mark = imports, mark

    def __enter__(self):
        return self.imports.__enter__()

    def __exit__(self, *error):
        left = self.imports.__exit__(*error)
        self.mark()
        from sdg.diffusion.denoiser import Denoiser

        predict = Denoiser.__call__

        def first(*args, **options):
            Denoiser.__call__ = predict
            self.mark()
            output = predict(*args, **options)
            self.mark()
            return output

        Denoiser.__call__ = first
        return left


if __name__ == "__main__":
    if sys.argv[1:2] == ["--marked"]:
        run_marked(sys.argv[2:])
    else:
        main()
