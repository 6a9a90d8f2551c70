"""Threads that wait sleep beside other work; /proc is made up, and torch is real in a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch  # noqa: F401  # the watch waits for it

from sdg.machine import cpu_sharing
from sdg.machine.cpu_sharing import BUSY, CALM, SETTINGS, SLEEP_AFTER, SPIN_AFTER, Watch, cpu_wait

SOURCE = Path(__file__).resolve().parents[2] / "src"


def thread(tasks, number, text):
    folder = tasks / str(number)
    folder.mkdir()
    if text is not None:
        (folder / "schedstat").write_text(text)


def test_the_wait_of_all_threads_is_added(tmp_path):
    thread(tmp_path, 1, "5000000000 1500000000 7\n")
    thread(tmp_path, 2, "0 500000000 1\n")
    thread(tmp_path, 3, None)  # it has just ended
    assert cpu_wait(tmp_path) == 2.0


@pytest.mark.parametrize("text", [None, "", "nonsense\n", "1\n"])
def test_a_system_that_does_not_tell_is_no_wait_of_zero(tmp_path, text):
    thread(tmp_path, 1, text)
    assert cpu_wait(tmp_path) is None
    assert cpu_wait(tmp_path / "absent") is None


@pytest.fixture
def watch(monkeypatch):
    monkeypatch.setattr(cpu_sharing, "hold_threads", lambda end: end.wait())
    watch = Watch()
    yield watch
    if watch.extra:
        watch.extra.set()


def test_threads_sleep_after_some_busy_windows_and_spin_after_many_calm_ones(watch):
    for _ in range(SLEEP_AFTER - 1):
        watch.update(BUSY * 2)
    watch.update(CALM / 2)  # one busy window is no neighbour
    assert watch.extra is None
    for _ in range(SLEEP_AFTER):
        watch.update(BUSY * 2)
    extra = watch.extra
    assert extra is not None
    for _ in range(SPIN_AFTER - 1):
        watch.update(CALM / 2)
    watch.update((CALM + BUSY) / 2)  # neither: it stays as it is, and the calm begins anew
    for _ in range(SPIN_AFTER - 1):
        watch.update(CALM / 2)
    assert watch.extra is extra
    watch.update(CALM / 2)
    assert watch.extra is None
    assert extra.is_set()


def test_a_module_that_is_being_imported_is_not_used(monkeypatch, watch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for _ in range(SLEEP_AFTER):
        watch.update(BUSY * 2)
    assert watch.extra is None


SCRIPT = """
import os, sys, time
from sdg import share_cpus
spins = share_cpus()
print(spins, os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
"""


def run(script, **environment):
    names = (*SETTINGS, "OMP_NUM_THREADS")
    kept = {key: value for key, value in os.environ.items() if key not in names}
    return subprocess.run(
        [sys.executable, "-c", script],
        env=kept | {"PYTHONPATH": str(SOURCE)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.skipif(cpu_sharing.visible_cpus() == 1, reason="one CPU has nobody to spin for")
@pytest.mark.skipif(cpu_wait() is None, reason="the system does not say how long threads wait")
@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, "True PASSIVE 300000"),
        (SETTINGS, "True PASSIVE 300000"),  # those of a parent process
        ({"OMP_NUM_THREADS": "1"}, "False PASSIVE None"),
        (SETTINGS | {"OMP_NUM_THREADS": "1"}, "False PASSIVE None"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "False ACTIVE None"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "False PASSIVE None"),
        ({"GOMP_SPINCOUNT": "7"}, "False None 7"),
    ],
)
def test_what_the_user_sets_stays(given, expected):
    assert run(SCRIPT, **given).stdout.strip() == expected


@pytest.mark.slow
def test_after_torch_it_would_be_too_late():
    done = run("import torch, sdg; sdg.share_cpus()")
    assert "RuntimeError: share_cpus() comes before torch" in done.stderr


CROWD = """
import os, threading
from sdg.machine.cpu_sharing import hold_threads
import torch
count = lambda: len(os.listdir("/proc/self/task"))
torch.zeros(1 << 18).exp_()
alone, end = count(), threading.Event()
holder = threading.Thread(target=hold_threads, args=(end,))
holder.start()
while count() < alone + 2:  # itself, and one of its team
    pass
end.set()
holder.join()
while count() > alone:
    pass
print("gone")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_held_threads_come_and_go():
    assert run(CROWD, OMP_NUM_THREADS="2").stdout.strip() == "gone"
