"""Full disks, read-only folders, TMPDIR elsewhere: one line, and the same command goes on."""

import csv
import json
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from attack.conftest import some
from attack.kept import untimed
from attacking import errors, outcome
from tiny_training import words

from sdg.app.checkpoints import main as checkpoints

# What is left of a disk, in kilobytes: from nothing to nearly enough.
LEFT = (0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)


@contextmanager
def disk(place: Path, *options: str):
    """A file system of its own, in memory; skips the test where none may be mounted."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here: " + mounted.stderr.decode().strip())
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def small(tmp_path):
    """A disk of 4 MB."""
    with disk(tmp_path / "small", "size=4m") as place:
        yield place


def filled(place: Path, left: int) -> Path:
    """A file that leaves so many kilobytes of a disk."""
    file = place / "filler"
    block = bytes(4096)
    with open(file, "wb", buffering=0) as held:
        try:
            while True:
                held.write(block)
        except OSError:
            pass
        held.truncate(max(0, held.tell() - 1024 * left))
    return file


def sampled(folder: Path):
    """What a sampling run leaves."""
    images = {file.name: file.read_bytes() for file in (folder / "images").iterdir()}
    rows = [untimed(row) for row in csv.DictReader((folder / "samples.csv").open())]
    return images, rows, untimed(json.loads((folder / "metrics.json").read_text()))


def trained(folder: Path):
    """What a training leaves: its weights."""
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.safetensors")
    }


def attack_disk(tally, log, small, left, start, again, results, folder, whole) -> None:
    """Starts a command on a full disk, then goes on with room; counts both."""
    filler = filled(small, left)
    came = outcome(start, log)
    tally.add("right result" if came == "accepted" else came)
    assert came in ("clear line", "accepted"), f"{left} kB: {log.read_text()[-3000:]}"
    if came == "clear line":
        line = errors(log.read_text())[0]
        assert "full" in line or "room" in line, line
    filler.unlink()
    came = outcome(again, log)
    assert came == "accepted", f"{left} kB, again: {log.read_text()[-3000:]}"
    right = results(folder) == whole
    tally.add("right result" if right else "wrong result")
    assert right, f"{left} kB"
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_sampling_on_a_full_disk_goes_on_to_the_same_bytes(run, tiny, tally, small, tmp_path, kind):
    options = [*tiny[:-1], "batch_size=1", "eval.real=16", f"images={kind}", "eval.grid=2"]
    whole = tmp_path / "whole"
    run("sample.py", *options, f"hydra.run.dir={whole}", f"eval.cache={tmp_path}/real")

    def results(folder):
        if kind == "folder":
            return sampled(folder)
        return {file.name: file.read_bytes() for file in (folder / "shards").iterdir()}

    for left in some(LEFT, 2):
        folder = small / f"run-{left}"
        command = ["sample.py", *options, f"hydra.run.dir={folder}", f"eval.cache={small}/real"]

        def start(command=command):
            run(*command)

        attack_disk(
            tally, tmp_path / "log", small, left, start, start, results, folder, results(whole)
        )
        subprocess.run(["rm", "-rf", str(folder), f"{small}/real"], check=True)


def test_a_sweep_on_a_full_disk_goes_on_to_the_same_bytes(run, tiny, tally, small, tmp_path):
    options = ["-m", *tiny[:-1], "batch_size=2", "eval.real=16", "guidance.gamma=1,2"]
    options += [f"eval.cache={tmp_path}/real"]
    run("sample.py", *options, f"hydra.sweep.dir={tmp_path}/whole")

    def results(folder):
        return [sampled(file.parent) for file in sorted(folder.glob("*/metrics.json"))]

    for left in some(LEFT, 1):
        folder = small / f"sweep-{left}"
        command = ["sample.py", *options, f"hydra.sweep.dir={folder}"]

        def start(command=command):
            run(*command)

        attack_disk(
            tally,
            tmp_path / "log",
            small,
            left,
            start,
            start,
            results,
            folder,
            results(tmp_path / "whole"),
        )
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_training_on_a_full_disk_goes_on_to_the_same_weights(run, tally, small, tmp_path):
    changed = {"trainer__max_steps": 4, "callbacks__checkpoint__every_n_train_steps": 1}
    run(*words(tmp_path / "whole", **changed))
    whole = trained(tmp_path / "whole")
    for left in some(LEFT, 2):
        runs = small / f"runs-{left}"

        def start(runs=runs):
            run(*words(runs / "run", **changed))

        def again(runs=runs):
            resume = any(runs.glob("*/checkpoints/*.ckpt")) and not trained(runs / "run")
            run(*words(runs / "run", **changed), *(["resume=true"] if resume else []))

        attack_disk(
            tally, tmp_path / "log", small, left, start, again, trained, runs / "run", whole
        )
        subprocess.run(["rm", "-rf", str(runs)], check=True)


def test_exports_on_a_full_disk(tally, small, weights, tmp_path):
    source = str(weights / "denoiser.safetensors")
    for out in ("out.safetensors", "folder"):
        checkpoints(["convert", source, str(tmp_path / out)])
        for left in some(LEFT[:10], 2):

            def start(out=out):
                checkpoints(["convert", source, str(small / out)])

            def results(place):
                files = [place] if place.is_file() else sorted(place.rglob("*.safetensors"))
                return [file.read_bytes() for file in files]

            attack_disk(
                tally,
                tmp_path / "log",
                small,
                left,
                start,
                start,
                results,
                small / out,
                results(tmp_path / out),
            )
            subprocess.run(["rm", "-rf", str(small / out)], check=True)


def test_rendering_on_a_full_disk(run, tiny, tally, small, tmp_path):
    options = [word for word in tiny if not word.startswith("data.cache")]
    run("sample.py", *options, "data.cache=null")
    whole = sampled(tmp_path / "run")
    for left in some((0, 8, 64), 1):

        def start():
            run("sample.py", *options, f"data.cache={small}/cache", "rerun=true")

        attack_disk(
            tally,
            tmp_path / "log",
            small,
            left,
            start,
            start,
            lambda folder: sampled(tmp_path / "run"),
            small,
            whole,
        )
        subprocess.run(["rm", "-rf", f"{small}/cache"], check=True)


@pytest.mark.parametrize("left", [0, 4000])
def test_tmpdir_on_another_device_is_nothing_to_a_training(
    run, tally, small, tmp_path, monkeypatch, left
):
    changed = {"trainer__max_steps": 4, "callbacks__checkpoint__every_n_train_steps": 1}
    run(*words(tmp_path / "whole", **changed))
    filled(small, left)
    monkeypatch.setenv("TMPDIR", str(small))
    monkeypatch.setattr("tempfile.tempdir", None)
    came = outcome(lambda: run(*words(tmp_path / "run", **changed)), tmp_path / "log")
    right = came == "accepted" and trained(tmp_path / "run") == trained(tmp_path / "whole")
    tally.add("right result" if right else "wrong result")
    assert right, (tmp_path / "log").read_text()[-3000:]
    torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("left", [0, 4000])
def test_tmpdir_on_another_device_is_nothing_to_sampling(
    run, tiny, tally, small, tmp_path, monkeypatch, left
):
    options = [*tiny[:-1], f"eval.cache={tmp_path}/real"]
    run("sample.py", *options, f"hydra.run.dir={tmp_path}/whole")
    filled(small, left)
    monkeypatch.setenv("TMPDIR", str(small))
    monkeypatch.setattr("tempfile.tempdir", None)
    command = [*options, f"hydra.run.dir={tmp_path}/run"]
    came = outcome(lambda: run("sample.py", *command), tmp_path / "log")
    right = came == "accepted" and sampled(tmp_path / "run") == sampled(tmp_path / "whole")
    tally.add("right result" if right else "wrong result")
    assert right, (tmp_path / "log").read_text()[-3000:]


def test_read_only_folders(run, tiny, tally, tmp_path, weights):
    with disk(tmp_path / "fixed", "size=1m") as fixed:
        subprocess.run(["mount", "-o", "remount,ro", str(fixed)], check=True)
        source = str(weights / "denoiser.safetensors")
        cases = {
            "run": lambda: run("sample.py", *tiny[:-1], f"hydra.run.dir={fixed}/run"),
            "sweep": lambda: run(
                "sample.py",
                "-m",
                *tiny[:-1],
                "guidance.gamma=1,2",
                f"hydra.sweep.dir={fixed}/sweep",
            ),
            "data": lambda: run("sample.py", *tiny, f"data.cache={fixed}/data"),
            "train": lambda: run(*words(fixed / "run")),
            "file": lambda: checkpoints(["convert", source, f"{fixed}/out.safetensors"]),
            "folder": lambda: checkpoints(["convert", source, f"{fixed}/out"]),
        }
        failed = []
        for name, case in cases.items():
            came = outcome(case, tmp_path / "log")
            tally.add("wrong result" if came == "accepted" else came)
            if came != "clear line":
                failed.append(f"{name}: {(tmp_path / 'log').read_text()[-2000:]}")
        assert not failed, "\n".join(failed)


@pytest.mark.parametrize("how", ["cut", "empty", "one byte", "gone"])
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(run, tally, tmp_path, how):
    changed = {"callbacks__checkpoint__every_n_train_steps": 1, "trainer__max_steps": 4}
    run(*words(tmp_path / "runs" / "first", **(changed | {"trainer__max_steps": 2})))
    last = tmp_path / "runs" / "first" / "checkpoints" / "last.ckpt"
    run(*words(tmp_path / "whole", **changed), f"ckpt_path={last}")
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 255
    bad = {"cut": content[:-3000], "empty": b"", "one byte": content, "gone": None}[how]
    last.unlink()
    if bad is not None:
        last.write_bytes(bad)
    command = words(tmp_path / "runs" / "next", resume="true", **changed)
    came = outcome(lambda: run(*command), tmp_path / "log")
    text = (tmp_path / "log").read_text()
    right = came == "accepted" and trained(tmp_path / "runs/next") == trained(tmp_path / "whole")
    tally.add("right result" if right else "wrong result")
    assert right, text[-3000:]
    assert (f"{last} is damaged" in text) == (bad is not None)
    assert "resuming from " in text
