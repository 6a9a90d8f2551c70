"""As many samples as a user writes: a run starts at once and holds constant memory."""

import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from sdg.data.conditions import read_conditions
from sdg.data.requests import Requests, sample_seed
from sdg.evaluation.store import SampleStore

ROOT = Path(__file__).parents[2]
HUGE = 10**9


def test_the_bookkeeping_of_a_huge_run_takes_neither_time_nor_memory(tmp_path, tally):
    tracemalloc.start()
    began = time.perf_counter()
    for given in ({}, {"text": ["a red ring"]}, {"text": ["a red ring", "a heart"]}):
        conditions, each = read_conditions(given, None, HUGE)
        requests = Requests(conditions, each, seed=3)
        assert len(requests) == HUGE
        last = requests[HUGE - 1]
        assert last.seed == sample_seed(3, HUGE - 1) and last.index == HUGE - 1
        tally.add("right result")
    store = SampleStore(tmp_path, HUGE, 64, "mark")
    store.begin(anew=False)
    missing = store.missing()
    assert len(missing) == HUGE // 64 and missing[-1] == range(HUGE - 64, HUGE)
    for start in (0, 64, 640, HUGE - 64):
        store.file(range(start, start + 1)).write_text("{}\n")
    missing = store.missing()
    assert len(missing) == HUGE // 64 - 4
    assert [batch[0] for batch in missing[:9]] == [64 * k for k in (2, 3, 4, 5, 6, 7, 8, 9, 11)]
    assert missing[-1] == range(HUGE - 128, HUGE - 64)
    tally.add("right result")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6 and time.perf_counter() - began < 10


def test_missing_batches_are_those_without_rows(tmp_path):
    store = SampleStore(tmp_path, 23, 4, "mark")
    store.begin(anew=False)
    for start in (4, 8, 20):
        store.file(range(start, start + 1)).write_text("{}\n")
    assert list(store.missing()) == [range(0, 4), range(12, 16), range(16, 20)]
    assert list(store.batches)[-1] == range(20, 23)
    for start in (0, 12, 16):
        store.file(range(start, start + 1)).write_text("{}\n")
    assert not store.missing() and len(store.missing()) == 0


class Sampling:
    """A sampling run beside this process.

    Arguments:
        batches: after so many it is stopped.

    Attributes:
        memory: resident megabytes by the number of finished batches.
    """

    def __init__(self, folder: Path, batches: int, words):
        command = [sys.executable, "sample.py", "data=shapes", *words, f"hydra.run.dir={folder}"]
        self.memory: dict[int, float] = {}
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        while self.process.poll() is None:
            done = len(list((folder / "rows").glob("[0-9]*.jsonl")))
            self.memory[done] = resident(self.process.pid) or self.memory.get(done, 0)
            if done >= batches:
                self.process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.05)
        self.output = self.process.communicate(timeout=120)[0]


def resident(pid: int) -> float:
    """Megabytes that a process holds; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_run_of_a_billion_samples_begins_and_is_stopped(quick, tmp_path, tally):
    words = [*quick, "prompt=a red ring", "batch_size=2", "eval.reading=false"]
    run = Sampling(tmp_path / "run", 3, [*words, f"num_samples={HUGE}"])
    assert run.process.returncode == 143, run.output
    assert "The same command goes on." in run.output and "Traceback" not in run.output
    assert max(run.memory.values()) < 2000  # torch and the networks; a list took 3900 more
    tally.add("right result")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_thousand_batches_hold_constant_memory(quick, tmp_path, tally):
    words = [*quick, "prompt=a red ring", "batch_size=1", "eval.reading=false", "sampler.steps=2"]
    run = Sampling(tmp_path / "run", 1000, [*words, f"num_samples={HUGE}"])
    assert run.process.returncode == 143, run.output
    early = [value for done, value in run.memory.items() if 100 <= done < 300 and value]
    late = [value for done, value in run.memory.items() if 800 <= done <= 1000 and value]
    print(f"resident: {max(early):.0f} MB by batch 300, {max(late):.0f} MB by batch 1000")
    assert max(late) < max(early) + 20
    tally.add("right result")
