"""Images are rendered by several processes, and any script may ask for them."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdg.data.portraits import Portraits
from sdg.data.processes import map_parts

SOURCE = Path(__file__).resolve().parents[2] / "src"

# As a user writes it, without `if __name__ == "__main__"`.
SCRIPT = """
import sys

import numpy as np

from sdg.data.portraits import Portraits

print("the script runs")
np.save(sys.argv[1], Portraits(501, 0, 16).images)
"""

SQUARES = """
import numpy as np

from sdg.data.rendering import render_all

print("the script runs")
print(render_all(None, "squares", np.square, np.arange(501)).sum())
"""

OWN_FUNCTION = """
from sdg.data.processes import map_parts


def double(part):
    return [2 * number for number in part]


print(list(map_parts(double, [[1], [2, 3]])))
"""


def run(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    (folder / "script.py").write_text(script)
    return subprocess.run(
        [sys.executable, "script.py", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_script_without_a_guard_runs_once(tmp_path):
    result = run(SQUARES, tmp_path)
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    first, *_, last = result.stdout.splitlines()
    assert result.stdout.count(first) == 1 and first == "the script runs"
    assert last == str(sum(n * n for n in range(501)))
    assert "goes on alone" not in result.stdout


@pytest.mark.slow
def test_a_script_without_a_guard_renders_portraits(tmp_path):
    result = run(SCRIPT, tmp_path, "images.npy")
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    assert result.stdout.count("the script runs") == 1
    assert "goes on alone" not in result.stdout
    images = np.load(tmp_path / "images.npy")
    # Few are rendered by the process itself, so these came about without any other.
    assert images.shape == (501, 16, 16, 3)
    assert np.array_equal(images[:8], Portraits(8, 0, 16).images)


def test_where_others_cannot_help_the_process_goes_on_alone(tmp_path):
    result = run(OWN_FUNCTION, tmp_path)  # which other processes cannot import
    assert result.returncode == 0, result.stderr
    *told, doubled = result.stdout.splitlines()
    assert doubled == "[[2], [4, 6]]"
    assert len(told) == 1 and told[0].endswith("this one goes on alone")


def test_a_process_that_may_start_none_does_all(monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    assert list(map_parts(lambda part, factor: part * factor, [1, 2], 3)) == [3, 6]


def test_the_program_is_there_again_afterwards():
    program = sys.modules["__main__"]
    assert list(map_parts(abs, [-1, -2, 3])) == [1, 2, 3]
    assert sys.modules["__main__"] is program
