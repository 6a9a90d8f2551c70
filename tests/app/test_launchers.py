"""A sweep's jobs in processes of their own.

The table is the same, and a failed job is named from there too.
"""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from sdg.app.jobs import Jobs

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher, package",
    [
        ("joblib", "joblib_launcher"),
        ("submitit_local", "submitit_launcher"),
        ("ray", "ray_launcher"),
    ],
)
def test_jobs_of_other_processes_end_in_one_report(tiny, tmp_path, launcher, package):
    pytest.importorskip(f"hydra_plugins.hydra_{package}")
    command = [
        sys.executable,
        "sample.py",
        "-m",
        f"hydra/launcher={launcher}",
        *tiny[:-1],
        "data=shapes",
        f"hydra.sweep.dir={tmp_path}/sweep",
        "guidance.gamma=0,1e38,5",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert (
        done.returncode == 1
        and "these failed: guidance.gamma=1e+38" in done.stderr.rstrip().splitlines()[-1]
    ), done.stderr[-2000:]
    with open(tmp_path / "sweep" / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["job"] for row in rows] == ["guidance.gamma=0", "guidance.gamma=5"]
    assert all((tmp_path / "sweep" / row["folder"] / "metrics.json").is_file() for row in rows)
    assert (tmp_path / "sweep" / "report.html").is_file() and (
        tmp_path / "sweep" / "sweep.png"
    ).is_file()
    assert [bool(job["error"]) for job in Jobs.jobs(tmp_path / "sweep")] == [False, True, False]
