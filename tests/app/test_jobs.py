"""A sweep's folder belongs to one sweep at a time."""

import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from sdg.app.claim import CLAIM
from sdg.app.jobs import Jobs

HOLD = """
import sys
from pathlib import Path
from sdg.app.claim import claim
claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_sweep_in_a_folder_is_refused_and_leaves_the_records_of_the_first(tmp_path):
    (tmp_path / "jobs").mkdir()
    record = tmp_path / "jobs" / "0000.json"
    record.write_text("{}")
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "jobs"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with other:
        assert other.stdout.readline()
        with pytest.raises(SystemExit, match="another sweep is at work in"):
            Jobs().on_multirun_start(config)
        assert record.is_file()
        other.stdin.close()
    Jobs().on_multirun_start(config)  # the first has ended
    assert not record.exists() and (tmp_path / "jobs" / CLAIM).is_file()
    Jobs().on_multirun_end(config)
    assert not (tmp_path / "jobs" / CLAIM).exists()


@pytest.mark.parametrize(
    "error, said, traced",
    [
        (OSError(28, "No space left on device"), "the disk or the quota is full", False),
        (KeyError("a slip of ours"), "a slip of ours", True),
    ],
)
def test_a_report_that_fails_fails_the_sweep(tmp_path, monkeypatch, capsys, error, said, traced):
    """Hydra only warns of an exception in a callback, and exits with 0."""

    class Failing(Jobs):
        def report(self, folder, jobs, config):
            raise error

    (tmp_path / "jobs").mkdir()
    monkeypatch.setattr(Jobs, "failed", [])
    Failing().on_multirun_end(config_of(tmp_path))
    assert len(Jobs.failed) == 1 and said in Jobs.failed[0]
    assert ("Traceback" in capsys.readouterr().err) == traced


def test_a_damaged_record_of_a_job_fails_the_sweep(tmp_path, monkeypatch):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "0000.json").write_text("{")
    claimed = tmp_path / "jobs" / CLAIM
    claimed.touch()
    monkeypatch.setattr(Jobs, "failed", [])
    Jobs().on_multirun_end(config_of(tmp_path))
    assert len(Jobs.failed) == 1 and not claimed.exists()


def config_of(folder):
    return OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
