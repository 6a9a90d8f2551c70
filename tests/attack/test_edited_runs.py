"""A finished run that somebody edited: the same command mends it, or says in one line why not."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attack.conftest import some
from attacking import outcome

ROOT = Path(__file__).parents[2]
PICTURE, TABLE, ROWS = "images/00000.png", "samples.csv", "rows/00000.jsonl"


def remove(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).unlink()


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda run: (run / name).write_bytes(content)


# What is done to a run's files, and whether the same command can make it whole again.
EDITS = {
    "no table": (remove(TABLE), True),
    "a table of one line": (write(TABLE, b"index\n"), True),
    "a table of no text": (write(TABLE, b"\xff\xfe\0\0"), True),
    "no picture": (remove(PICTURE), True),
    "no figures": (remove("metrics.json"), True),
    "figures of no JSON": (write("metrics.json", b"{"), True),
    "rows of no JSON": (write(ROWS, b"{"), True),
    "rows of another kind": (write(ROWS, b"[]\n"), True),
    "no note of the measures": (remove("rows/measured.json"), True),
    "a note that is torn": (write("rows/measured.json", b"["), True),
    "a torn fingerprint": (write("rows/run.json", b"{"), False),
    "a fingerprint of another kind": (write("rows/run.json", b"[]"), False),
    "a config that runs code": (
        write("config.yaml", b"!!python/object/apply:os.system ['touch code-was-run']\n"),
        True,
    ),
    "a picture that is none": (
        lambda run: (write(PICTURE, b"junk")(run), remove("metrics.json")(run)),
        False,
    ),
}


@pytest.fixture(scope="module")
def settings(quick) -> list[str]:
    return [*quick, "num_samples=2", "batch_size=1", "eval.reading=false", "sampler.steps=2"]


def kept(folder: Path) -> dict[str, bytes]:
    """The samples of a run, and its table."""
    names = sorted(file.name for file in (folder / "images").iterdir())
    held = {name: (folder / "images" / name).read_bytes() for name in names}
    return held | {TABLE: (folder / TABLE).read_bytes()}


@pytest.mark.parametrize("name", some(list(EDITS), 3))
def test_an_edited_run(name, settings, run, tally, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    words = [*settings, f"hydra.run.dir={folder}"]
    edit, mends = EDITS[name]
    assert outcome(lambda: run("sample.py", *words), log) == "accepted", log.read_text()
    whole = kept(folder)
    edit(folder)
    came = outcome(lambda: run("sample.py", *words), log, folder / "code-was-run")
    if came == "accepted":
        came = "right result" if mends and kept(folder) == whole else "wrong result"
        json.loads((folder / "metrics.json").read_text())
    tally.add(came)
    assert came == ("right result" if mends else "clear line"), log.read_text()


def test_nobody_reads_the_output(settings, tally, tmp_path):
    words = [sys.executable, "sample.py", *settings, "data=shapes", f"hydra.run.dir={tmp_path}/run"]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        program.stdout.readline()
        program.stdout.close()
        said = program.stderr.read()
    tally.add("traceback" if "Traceback" in said else "clear line")
    assert program.returncode == 1 and said.count("error: ") == 1, said
    assert "nobody reads any more" in said and "Exception ignored" not in said
