"""The ratios of speed on a CPU: medians of interleaved rounds, with their ranges.

    python benchmarks/speed.py [--rounds 3] [--only step,precision,recipe,training,start,
                               neighbours,memory]

    step        a guided step, over the same calls of the bare networks (target 1.03), and a whole
                call of 8 steps over its steps
    precision   float32 over bfloat16, same steps (target 1.5)
    recipe      100 steps of DDPM in float32, over what the shipped portraits take by default
                and over `experiment=fast` (target 8); `benchmarks/few_steps.py` says which of
                them show as many prompts
    training    a step of train.py, over the same step written out (target 1.02)
    start       `benchmarks/start.py`
    neighbours  `benchmarks/neighbours.py`
    memory      `benchmarks/memory.py`

Sampling and training are measured in CPU time, so that other work on the machine matters less.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported
sys.path.insert(0, str(ROOT / "src"))

import torch  # noqa: E402

from sdg import DDPM, DPMSolver, Pipeline  # noqa: E402

PROMPT = "a smiling person with red hair"
Measure = Callable[[], object]


def compared(what: str, first: Measure, second: Measure, rounds: int, target: str) -> None:
    """Prints the CPU time of the first over that of the second; both have run before."""
    ratios = []
    for _ in range(rounds):
        spent = [cpu_seconds(measure) for measure in (first, second)]
        ratios.append(spent[0] / spent[1])
    show(what, ratios, target)


def show(what: str, ratios: Sequence[float], target: str) -> None:
    middle, aim = statistics.median(ratios), f"  target {target}" if target else ""
    span = f"({min(ratios):.3f}–{max(ratios):.3f})"
    print(f"{what:58}{middle:7.3f}  {span}{aim}", flush=True)


def cpu_seconds(measure: Measure) -> float:
    begun = time.process_time()
    measure()
    return time.process_time() - begun


def step(rounds: int) -> None:
    """A guided step over the bare networks, by batch and precision."""
    for dtype in (torch.float32, torch.bfloat16):
        for batch in (4, 16):
            pipe = Pipeline.from_pretrained("portraits").to(dtype)
            found = [step_times(pipe, batch) for _ in range(rounds + 1)][1:]  # the first warms up
            name = f"batch {batch}, {str(dtype)[6:]}"
            ratios = [times.steps / times.networks for times in found]
            show(f"guided step over its networks, {name}", ratios, "≤ 1.03")
            show(f"call over its steps, {name}", [times.call / times.steps for times in found], "")


class Times(NamedTuple):
    """CPU seconds of a call, of its steps but the first, and of their networks alone."""

    call: float
    steps: float
    networks: float


def step_times(pipe: Pipeline, batch: int) -> Times:
    """Of a call of 8 steps; `call` is scaled by 7/8 to as many steps as the others."""
    sampler = DDPM(8, "towards_noise")
    grid = sampler.grid(pipe.denoiser.schedule)
    guided, x = guided_levels(pipe, grid), torch.randn(batch, *pipe.shape)
    ends: list[float] = []

    def note(done: int, step: object) -> None:
        ends.append(time.process_time())

    def call() -> None:
        pipe(PROMPT, num_samples=batch, sampler=sampler, callback=note, progress=False)

    def bare() -> None:
        for t, s in grid[1:]:
            networks(pipe, x, t, s if s in guided else None)

    whole = cpu_seconds(call) * (len(grid) - 1) / len(grid)
    return Times(whole, ends[-1] - ends[0], cpu_seconds(bare))


def guided_levels(pipe: Pipeline, grid: list[tuple[int, int]]) -> set[int]:
    """The levels s at which a guided step asks the encoder."""
    low, high = pipe.interval
    last = pipe.denoiser.schedule.T - 1
    return {s for t, s in grid if s >= 0 and low <= t / last <= high}


def networks(pipe: Pipeline, x: torch.Tensor, t: int, s: int | None) -> None:
    """One call of the denoiser, and, at a level s, the encoder's gradient."""
    mixed = pipe.dtype != torch.float32
    with torch.autocast("cpu", pipe.dtype) if mixed else nullcontext():
        with torch.no_grad():
            pipe.denoiser.network(
                torch.nn.functional.pixel_unshuffle(x, pipe.denoiser.patch),
                torch.full((len(x),), t),
            )
        if s is not None:
            leaf = x.clone().requires_grad_()
            value = pipe.encoder.encode(leaf, torch.full((len(x),), s)).z.float().sum()
    if s is not None:
        torch.autograd.grad(value, leaf)


def precision(rounds: int) -> None:
    """float32 over bfloat16, the same steps."""
    full, mixed = both_precisions()
    for batch, steps in ((1, 20), (4, 20), (16, 10), (64, 6)):
        runs = [partial(draw, pipe, batch, steps=steps) for pipe in (full, mixed)]
        compared(f"float32 over bfloat16, batch {batch}", *runs, min(rounds, 3), "≥ 1.5")


def recipe(rounds: int) -> None:
    """100 steps of DDPM in float32 over the shipped recipe and over the fast one."""
    full, mixed = both_precisions()
    recipes = {
        "the default": partial(draw, mixed, 16),
        "experiment=fast": partial(draw, mixed, 16, sampler=DPMSolver(15, "towards_noise")),
    }
    ratios: dict[str, list[float]] = {name: [] for name in recipes}
    for _ in range(min(rounds, 2)):
        hundred = cpu_seconds(partial(draw, full, 16, steps=100))
        for name, measure in recipes.items():
            ratios[name].append(hundred / cpu_seconds(measure))
    for name, found in ratios.items():
        show(f"100 steps of DDPM in float32, over {name}, batch 16", found, "≥ 8")


def both_precisions() -> tuple[Pipeline, Pipeline]:
    """The shipped portraits in float32 and in bfloat16; both have drawn once."""
    full, mixed = (Pipeline.from_pretrained("portraits") for _ in range(2))
    mixed.to(torch.bfloat16)
    for pipe in (full, mixed):
        draw(pipe, 4, steps=2)
    return full, mixed


def draw(pipe: Pipeline, batch: int, **options: Any) -> None:
    pipe(PROMPT, num_samples=batch, progress=False, **options)


def training(rounds: int) -> None:
    """A step of `train.py` over the same step written out, both in float32."""
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(min(rounds, 3)):
            spent = [train_seconds(f"{folder}/{number}-{steps}", steps) for steps in (FEW, MANY)]
            ratios.append((spent[1] - spent[0]) / bare_training(MANY - FEW))
    show("step of train.py over a bare one", ratios, "≤ 1.02")


FEW, MANY = 2, 14
TRAINING = ("data=portraits", "data.size=256", "data.held_out=32", "trainer.precision=32-true")


def train_seconds(folder: str, steps: int) -> float:
    """CPU seconds of a training of so many steps."""
    words = (*TRAINING, f"trainer.max_steps={steps}", "logger=none", f"hydra.run.dir={folder}")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def bare_training(steps: int) -> float:
    """CPU seconds of so many steps: loss, gradient cut to 1, AdamW, averaged weights."""
    denoiser = Pipeline.from_pretrained("portraits").denoiser.train().requires_grad_(True)
    weights = list(denoiser.parameters())
    averaged = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(weights, 1e-4)

    def one_step() -> None:
        x0 = torch.rand(32, 3, 64, 64) * 2 - 1
        t = torch.randint(denoiser.schedule.T, (32,))
        denoiser.loss(x0, t, torch.randn_like(x0)).mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        torch._foreach_lerp_(averaged, weights, 0.001)

    one_step()
    return cpu_seconds(lambda: [one_step() for _ in range(steps)])


def script(name: str, *options: str) -> Callable[[int], None]:
    def run(rounds: int) -> None:
        words = [sys.executable, f"benchmarks/{name}.py", *options]
        print(subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout)

    return run


PARTS = {
    "step": step,
    "precision": precision,
    "recipe": recipe,
    "training": training,
    "start": script("start", "--runs", "3"),
    "neighbours": script("neighbours"),
    "memory": script("memory"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS))
    options = parser.parse_args()
    for name in options.only.split(","):
        if name not in PARTS:
            parser.error(f"--only: {name} is none of {', '.join(PARTS)}")
        PARTS[name](options.rounds)


if __name__ == "__main__":
    main()
