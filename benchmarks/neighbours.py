"""Time of one guided sample alone, and beside one and two other busy processes.

    python benchmarks/neighbours.py [--rounds 3] [--steps 20]

Threads that wait for each other spin while nothing else wants the CPUs and sleep otherwise, as in
our commands (`sdg.share_cpus`), or always sleep (`OMP_WAIT_POLICY=PASSIVE`), or spin as torch's own
do. Rounds are interleaved; medians count. At most five minutes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
BUSY = (0, 1, 2)
TARGETS = {1: 2.2, 2: 3.2}  # times the idle time
LONGEST = 200.0  # seconds in all after which no further round begins
POLICIES = ("shared", "asleep", "spinning")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    begun, samplers = time.monotonic(), {}
    seconds: dict[tuple[str, int], list[float]] = {}
    try:
        samplers = {name: start(name, options.steps) for name in POLICIES}
        for name in samplers:
            sample(samplers[name])  # warm
        for number in range(options.rounds):
            for busy in BUSY:
                with neighbours(busy):
                    for name, sampler in samplers.items():
                        seconds.setdefault((name, busy), []).append(sample(sampler))
            if time.monotonic() - begun > LONGEST:
                print(f"stopped after {number + 1} of {options.rounds} rounds")
                break
    finally:
        end(list(samplers.values()))
    show({key: statistics.median(values) for key, values in seconds.items()})


def show(median: dict[tuple[str, int], float]) -> None:
    print(f"{'threads that wait':20}{'busy':>6}{'seconds':>10}{'of idle':>10}{'target':>8}")
    for name in POLICIES:
        for busy in BUSY:
            ratio = median[name, busy] / median[name, 0]
            target = TARGETS.get(busy, "") if name == "shared" else ""
            print(f"{name:20}{busy:6}{median[name, busy]:10.2f}{ratio:10.2f}{target:>8}")
    for name in ("shared", "asleep"):
        cost = median[name, 0] / median["spinning", 0]
        target = " (target 1.03)" if name == "shared" else ""
        print(f"idle, {name} over spinning: {cost:.3f}{target}")


def start(policy: str, steps: int) -> subprocess.Popen:
    """A process that draws one sample for each line that it reads."""
    environment = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    if policy == "asleep":
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    return subprocess.Popen(
        [sys.executable, __file__, "--draw", str(steps), policy],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def sample(sampler: subprocess.Popen) -> float:
    """Seconds that a sample takes it."""
    assert sampler.stdin and sampler.stdout
    print(file=sampler.stdin, flush=True)
    return float(sampler.stdout.readline())


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many other processes that are busy meanwhile."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        end(processes)


def end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def draw(steps: int, policy: str) -> None:
    sys.path.insert(0, str(ROOT / "src"))
    from sdg import share_cpus
    from sdg.app.threads import limit_threads

    limit_threads()
    if policy == "shared":
        share_cpus()
    from sdg import DDPM, Pipeline

    pipe = Pipeline.from_pretrained("portraits")
    for _ in sys.stdin:
        begun = time.perf_counter()
        pipe("a smiling person with red hair", sampler=DDPM(steps), progress=False)
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--draw"]:
        draw(int(sys.argv[2]), sys.argv[3])
    else:
        main()
