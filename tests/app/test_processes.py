"""Whichever process of a run is killed, the others end within seconds, with one line."""

import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import killing
import pytest
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from tiny_training import words
from torch.distributed import TCPStore

from sdg.app import processes, stopping
from sdg.app.child_process import PARENT, follow_parent
from sdg.app.importing import without_wandb
from sdg.app.processes import ChildProcesses

ROOT = Path(__file__).resolve().parents[2]


def launcher(*commands):
    """Lightning's launcher, with these processes."""
    made = object.__new__(_SubprocessScriptLauncher)
    made.procs = [subprocess.Popen(command) for command in commands]
    return made


@pytest.mark.parametrize(
    "ends, says",
    [
        ("kill -9 $$", "another process of this run was killed by SIGKILL, perhaps since memory"),
        ("exit 3", "another process of this run ended with exit code 3; the run ends."),
        ("echo error: its own; exit 1", "its own"),
    ],
)
def test_a_process_that_dies_ends_the_run_with_one_line(tmp_path, ends, says):
    def run() -> None:
        others = launcher(["sleep", "600"], ["sh", "-c", f"sleep 0.2; {ends}"])
        (tmp_path / "pid").write_text(str(others.procs[0].pid))
        ChildProcesses(others)
        time.sleep(600)

    began = time.monotonic()
    assert killing.ended(killing.fork(run, tmp_path / "log"), 20) == 1
    assert time.monotonic() - began < 10
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"error: {says}")
    assert killing.gone(int((tmp_path / "pid").read_text()), 5)


def test_a_signal_reaches_the_others_while_this_process_is_deaf(tmp_path):
    def run() -> None:
        with stopping.stoppable():
            others = ChildProcesses(launcher(["sleep", "600"]))
            (tmp_path / "pid").write_text(str(others.processes[0].pid))
            (tmp_path / "ready").touch()
            # As in a collective: no Python code runs in this thread until the other one has ended.
            TCPStore("127.0.0.1", 0, 2, is_master=True, timeout=timedelta(seconds=600))

    pid = killing.fork(run, tmp_path / "log")
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    os.kill(pid, signal.SIGTERM)
    assert killing.gone(int((tmp_path / "pid").read_text()), 5)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_signal_while_it_waits_for_the_others_ends_them_too(tmp_path):
    def run() -> None:
        with stopping.stoppable():
            others = ChildProcesses(launcher(["sh", "-c", "trap '' TERM; sleep 600"]))
            (tmp_path / "pid").write_text(str(others.processes[0].pid))
            (tmp_path / "ready").touch()
            others.end(finish=True)

    pid = killing.fork(run, tmp_path / "log")
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    os.kill(pid, signal.SIGTERM)
    assert killing.ended(pid, 10) == 143
    assert killing.gone(int((tmp_path / "pid").read_text()), 5)


def test_processes_that_end_well_end_nothing_and_the_rest_is_ended(tmp_path):
    def run() -> None:
        children = ChildProcesses(launcher(["true"], ["sleep", "600"]))
        time.sleep(1)
        children.end(finish=False)
        children.processes[1].wait()
        time.sleep(1)
        sys.exit(7)

    assert killing.ended(killing.fork(run), 20) == 7


@pytest.mark.parametrize("rank, says", [("1", True), ("2", False)])
def test_a_launched_process_ends_with_the_one_that_launched_it(tmp_path, monkeypatch, rank, says):
    def child() -> None:
        os.environ["LOCAL_RANK"] = rank
        follow_parent()
        (tmp_path / "ready").touch()
        time.sleep(600)

    def parent() -> None:
        os.environ[PARENT] = str(os.getpid())
        (tmp_path / "pid").write_text(str(killing.fork(child, tmp_path / "log")))
        time.sleep(600)

    pid = killing.fork(parent)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert killing.gone(int((tmp_path / "pid").read_text()), 5)
    told = (tmp_path / "log").read_text()
    assert told.count("the first process of this run was killed") == says == told.count("\n")


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("rank, most", [("1", 2.0), ("0", 1.5)])
def test_an_error_of_one_process_waits_a_few_seconds_at_most(monkeypatch, rank, most, known):
    others = launcher(["sleep", "600"]) if rank == "0" else None
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert processes.ENDING <= 5.0
    monkeypatch.setattr(processes, "ENDING", 0.5)
    children = ChildProcesses(others)
    monkeypatch.setenv(PARENT, "1")
    began = time.monotonic()
    children.await_turn(known)
    taken = time.monotonic() - began
    children.end(finish=False)
    assert taken < (most if rank == "1" or not known else 0.1)
    assert rank == "0" or taken >= 1.0


def test_readers_of_data_do_not_outlive_a_killed_training(run, tmp_path):
    settings = words(tmp_path / "run", data__num_workers=2, trainer__max_steps=50)
    kill = killing.words(
        "on_train_batch_end", signal.SIGKILL, count=2, children=f"{tmp_path}/workers"
    )
    others = {process.pid for process in multiprocessing.active_children()}  # of other tests
    pid = killing.fork(lambda: run(*settings, *kill), tmp_path / "log")
    assert killing.ended(pid, 120) == -signal.SIGKILL, (tmp_path / "log").read_text()
    workers = set(json.loads((tmp_path / "workers").read_text())) - others
    assert len(workers) == 2 and all(killing.gone(worker, 5) for worker in workers)


def test_libraries_do_not_import_wandb_unasked(monkeypatch):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with without_wandb(), pytest.raises(ImportError):
        import wandb  # noqa: F401
    assert "wandb" not in sys.modules and importlib.util.find_spec("wandb")


@pytest.mark.slow
def test_a_run_without_wandb_leaves_no_folders_of_it(tmp_path):
    code = (
        "import os, signal\n"
        "from sdg.app.importing import without_wandb\n"
        "with without_wandb():\n"
        "    import sdg.app.sample, sdg.app.train\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, timeout=600)
    assert not list(tmp_path.glob("*wandb*"))


def two_processes(tmp_path, log):
    """A training of two processes at work, and the ids of both."""
    settings = words(tmp_path / "run", trainer__max_steps=100000, trainer__log_every_n_steps=1)
    command = [sys.executable, *settings, "data=shapes", "trainer=ddp_cpu", "trainer.max_epochs=-1"]
    first = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    until = time.monotonic() + 600
    while "step 1/" not in Path(log.name).read_text():
        assert first.poll() is None and time.monotonic() < until, Path(log.name).read_text()
        time.sleep(0.1)
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    names = [(pid, Path(f"/proc/{pid}/cmdline").read_text()) for pid in children]
    (second,) = (int(pid) for pid, name in names if "train_ddp_process_1" in name)
    return first, second


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "second", "stop"])
def test_two_processes_end_together_with_one_line(tmp_path, which):
    with open(tmp_path / "log", "w") as log:
        first, second = two_processes(tmp_path, log)
        before = (tmp_path / "log").read_text()
        if which == "stop":
            first.terminate()
        else:
            os.kill(first.pid if which == "first" else second, signal.SIGKILL)
        code = first.wait(120)
        assert killing.gone(second, 10)
    told = (tmp_path / "log").read_text()[len(before) :]
    assert "Traceback" not in told and "gloo" not in told
    assert code == {"first": -signal.SIGKILL, "second": 1, "stop": 143}[which]
    says = {
        "first": "the first process of this run was killed",
        "second": "another process of this run was killed by SIGKILL",
        "stop": "stopped by SIGTERM: step ",
    }
    assert told.count(says[which]) == 1


@pytest.mark.parametrize("fails", ["train.py", "convert", ""])
def test_make_weights_replaces_a_file_by_a_finished_one_only(tmp_path, fails):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for place in (tmp_path / ".venv", tmp_path / "weights/shapes"):
        place.mkdir(parents=True)
    for file in ("clip.safetensors", "clip.md"):
        (tmp_path / "weights/shapes" / file).write_text("shipped")
    (tmp_path / ".venv/installed").touch()
    program = tmp_path / "program"
    program.write_text(
        "#!/bin/sh\n"
        'for out in "$@"; do :; done\n'
        'case "$*" in *convert*) echo new > "$out"; echo new > "${out%.safetensors}.md";; esac\n'
        f'case "$*" in *{fails or "nothing"}*) exit 1;; esac\n'
    )
    program.chmod(0o755)
    made = subprocess.run(
        ["make", "weights", "DATA=shapes", "PARTS=clip", f"RUN={program}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (made.returncode != 0) == bool(fails), made.stderr
    for file in ("clip.safetensors", "clip.md"):
        text = (tmp_path / "weights/shapes" / file).read_text().strip()
        assert text == ("shipped" if fails else "new")
