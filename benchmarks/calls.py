"""Counts the functions and modules of this project that run on the way to a sample.

They are counted from the command to its first picture, and within one guided step, which is the
second of a run through `Pipeline`. Comprehensions are no functions, and bodies of modules and
classes are none either.

    python benchmarks/calls.py [portraits | shapes] [--names]
"""

import inspect
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType

from sdg import Pipeline
from sdg.app import commands
from sdg.diffusion.samplers import DDPM

SOURCE = Path(inspect.getfile(commands)).parents[1]
COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
PROMPTS = {"portraits": "a smiling person with red hair", "shapes": "a red ring"}


class Calls:
    """The code of this project that runs between `start` and `stop`, of all threads."""

    def __init__(self) -> None:
        self.codes: set[CodeType] = set()
        self.running = False

    def start(self) -> None:
        self.running = True
        threading.setprofile(self.record)
        sys.setprofile(self.record)

    def stop(self) -> None:
        self.running = False
        sys.setprofile(None)
        threading.setprofile(None)

    def record(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if self.running and event == "call" and is_own_function(code):
            self.codes.add(code)

    def names(self) -> list[str]:
        """`module:function` of each."""
        return sorted(f"{module_name(code)}:{code.co_qualname}" for code in self.codes)


class UntilPicture(Calls):
    """Calls until PIL writes a file."""

    def record(self, frame: FrameType, event: str, argument: object) -> None:
        super().record(frame, event, argument)
        code = frame.f_code
        if event == "call" and code.co_name == "save" and code.co_filename.endswith("PIL/Image.py"):
            self.stop()


def is_own_function(code: CodeType) -> bool:
    own = code.co_filename.startswith(str(SOURCE))
    function = bool(code.co_flags & inspect.CO_OPTIMIZED)
    return own and function and code.co_name not in COMPREHENSIONS


def module_name(code: CodeType) -> str:
    return str(Path(code.co_filename).relative_to(SOURCE).with_suffix("")).replace("/", ".")


def command(data: str) -> list[str]:
    """What runs from `python sample.py` to the first picture."""
    calls = UntilPicture()
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["sample.py", f"data={data}", f"prompt={PROMPTS[data]}", "num_samples=1"]
        sys.argv += ["sampler.steps=2", f"hydra.run.dir={folder}"]
        calls.start()
        commands.sample()
        calls.stop()
    return calls.names()


class Counted(DDPM):
    """Counts the calls of its second step."""

    def __init__(self) -> None:
        super().__init__(4)
        self.calls, self.taken = Calls(), 0

    def step(self, *arguments, **options):
        self.taken += 1
        if self.taken == 2:
            self.calls.start()
        try:
            return super().step(*arguments, **options)
        finally:
            self.calls.stop()


def guided_step(data: str) -> list[str]:
    """What runs in one guided step, of the shipped weights."""
    sampler = Counted()
    Pipeline.from_pretrained(data)(PROMPTS[data], sampler=sampler, progress=False)
    return sampler.calls.names()


def summary(names: Iterable[str]) -> str:
    names = list(names)
    return f"{len(names)} functions in {len({name.partition(':')[0] for name in names})} modules"


def main(data: str = "portraits", *options: str) -> None:
    step = guided_step(data)
    networks = [name for name in step if name.startswith("models.")]
    start = command(data)
    print(f"before the first picture: {summary(start)}")
    print(f"in one guided step: {summary(step)}, of them in networks: {summary(networks)}")
    if "--names" in options:
        print("", "before the first picture:", *start, "", "in one guided step:", *step, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
