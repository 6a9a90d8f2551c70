"""Two runs, one folder: the second goes elsewhere or says so, and touches nothing."""

import os
import signal
import time

import killing
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from tiny_training import words

from sdg.app.claim import CLAIM, claim, claimed
from sdg.app.run_folder import first_process, own_folder


def contents(folder) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture
def held(tmp_path):
    """Has another process claim a folder, until it is killed; returns its id."""
    pids = []

    def hold(folder) -> int:
        def other() -> None:
            assert claim(folder) is not None
            (tmp_path / "ready").touch()
            time.sleep(600)

        pids.append(killing.fork(other))
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        return pids[-1]

    yield hold
    for pid in pids:
        if killing.alive(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_a_claim_ends_with_its_process_however_that_ends(held, tmp_path):
    pid = held(tmp_path / "run")
    assert claim(tmp_path / "run") is None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    file = claim(tmp_path / "run")  # though the dead one's file is still there
    assert file is not None
    with claimed(tmp_path / "run", file):
        assert (tmp_path / "run" / CLAIM).exists()
    assert not (tmp_path / "run" / CLAIM).exists()


def test_a_worker_of_a_killed_run_does_not_keep_its_claim(tmp_path):
    def run() -> None:
        assert claim(tmp_path / "run") is not None
        worker = killing.fork(lambda: time.sleep(600))
        (tmp_path / "worker").write_text(str(worker))
        os.kill(os.getpid(), signal.SIGKILL)

    assert killing.ended(killing.fork(run), 20) == -signal.SIGKILL
    worker = int((tmp_path / "worker").read_text())
    assert killing.alive(worker) and claim(tmp_path / "run") is not None
    os.kill(worker, signal.SIGKILL)


def test_a_file_system_without_locks_refuses_nobody(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", none)
    assert claim(tmp_path) is not None


@pytest.mark.parametrize("program", ["sample", "train"])
def test_the_second_run_of_a_folder_is_refused_and_touches_nothing(
    held, refusal, tiny, tmp_path, program
):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("of the first")
    held(folder)
    before = contents(folder)
    command = ["sample.py", *tiny] if program == "sample" else words(folder)
    assert f"another run is at work in {folder}; wait" in refusal(*command)
    assert contents(folder) == before


def test_a_refused_sampling_run_leaves_the_other_ones_records(run, refusal, tiny, tmp_path):
    run("sample.py", *tiny, "eval.reading=false")
    before = contents(tmp_path / "run")
    assert "of another run" in refusal("sample.py", *tiny, "guidance.gamma=3")
    assert contents(tmp_path / "run") == before


def job(folder, *overrides):
    """The part of Hydra's config that names a run's folder."""
    hydra = {
        "runtime": {"output_dir": str(folder)},
        "run": {"dir": str(folder)},
        "overrides": {"hydra": list(overrides)},
        "mode": "RUN",
    }
    return OmegaConf.create({"hydra": hydra})


def test_trainings_that_begin_in_one_second_have_folders_of_their_own(held, monkeypatch, tmp_path):
    first = tmp_path / "2026-01-01_00-00-00"
    held(first)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", job(first))
    with own_folder(training=True) as folder:
        assert folder == tmp_path / "2026-01-01_00-00-00-2"
        assert HydraConfig.get().runtime.output_dir == str(folder) == HydraConfig.get().run.dir
        (folder / "config.yaml").touch()
    monkeypatch.setattr(HydraConfig.instance(), "cfg", job(first))
    with own_folder(training=True) as folder:  # the second is done already
        assert folder == tmp_path / "2026-01-01_00-00-00-3"


def test_only_the_first_node_claims_the_folder(monkeypatch, tmp_path):
    """Where a cluster gives each node its NODE_RANK alone, the second starts beside the first."""
    assert first_process()
    monkeypatch.setenv("NODE_RANK", "1")
    assert not first_process()
