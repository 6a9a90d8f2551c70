"""Killed at any moment, the same command goes on and ends with the same bytes.

So do single runs, sweeps and searches.
"""

import csv
import json
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from hydra_plugins.sdg_search.search import Search, distribution
from sdg.app.jobs import Jobs
from sdg.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
TIMED = ("seconds", "peak_memory")  # what no two runs share


def command(tmp_path, name, *overrides):
    return [
        sys.executable,
        str(ROOT / "sample.py"),
        *overrides,
        "data=shapes",
        f"hydra.{'sweep' if '-m' in overrides else 'run'}.dir={tmp_path}/{name}",
    ]


def untimed(value):
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if not key.startswith(TIMED)}
    return value


def results(folder):
    """What a run leaves that must not depend on interruptions."""
    images = {
        file.name: file.read_bytes()
        for place in ("images", "shards")
        for file in (folder / place).glob("*")
    }
    return (
        images,
        (folder / "samples.csv").read_text(),
        untimed(json.loads((folder / "metrics.json").read_text())),
    )


def killed(words, folder, marks):
    """Starts a command and kills it as soon as that many files lie in its folder.

    It goes by progress, as no two machines are equally fast.
    """
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while left(folder) < marks:
        assert process.poll() is None, f"ended with {left(folder)} files, before {marks}"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def left(folder):
    """Files that a run or sweep has written so far."""
    return sum(file.is_file() for file in folder.rglob("*")) if folder.exists() else 0


def torn(words, folder, total, seed):
    """Kills a command five times, each time further than the last.

    The last time is shortly before its end.
    """
    marks = random.Random(seed)
    for k in range(5):
        killed(words, folder, int(total * (k + marks.uniform(0.1, 0.9)) / 5))


def whole(words):
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def small(tiny):
    """A run of twenty batches, long enough to be hit in every phase."""
    return [
        option for option in tiny if not option.startswith(("hydra", "num_samples", "sampler"))
    ] + ["sampler.steps=20", "num_samples=40", "batch_size=2"]


@pytest.mark.slow
@pytest.mark.parametrize("images", ["folder", "shards"])
def test_a_run_killed_five_times_ends_like_an_undisturbed_one(small, tmp_path, images):
    options = [
        "eval=full",
        f"images={images}",
        *small,
        "samples_per_prompt=4",
        "data.held_out=128",
        f"eval.cache={tmp_path}/real",
    ]
    whole(command(tmp_path, "whole", *options))
    torn(command(tmp_path, "torn", *options), tmp_path / "torn", left(tmp_path / "whole"), seed=0)
    whole(command(tmp_path, "torn", *options))
    assert results(tmp_path / "torn") == results(tmp_path / "whole")


@pytest.mark.slow
def test_a_sweep_killed_five_times_ends_like_an_undisturbed_one_and_repeats_nothing(
    small, tmp_path
):
    options = [
        "-m",
        *small,
        "num_samples=12",
        f"eval.cache={tmp_path}/real",
        "guidance.gamma=0,2,5,10",
    ]
    whole(command(tmp_path, "whole", *options))
    torn(command(tmp_path, "torn", *options), tmp_path / "torn", left(tmp_path / "whole"), seed=1)
    whole(command(tmp_path, "torn", *options))
    pairs = list(zip(Jobs.jobs(tmp_path / "whole"), Jobs.jobs(tmp_path / "torn"), strict=True))
    assert len(pairs) == 4
    for undisturbed, resumed in pairs:
        assert resumed["overrides"] == undisturbed["overrides"] and results(
            resumed["path"]
        ) == results(undisturbed["path"])
    before = {job["path"]: (job["path"] / "metrics.json").stat().st_mtime_ns for _, job in pairs}
    said = whole(command(tmp_path, "torn", *options))
    assert said.count("batches are drawn already") == 4
    assert before == {
        job["path"]: (job["path"] / "metrics.json").stat().st_mtime_ns for _, job in pairs
    }  # nothing was measured again either


@pytest.mark.slow
def test_a_search_goes_on_where_it_was_killed(small, tmp_path):
    pytest.importorskip("optuna")
    options = [
        "-m",
        "hydra/sweeper=search",
        *small,
        "num_samples=4",
        f"eval.cache={tmp_path}/real",
        "hydra.sweeper.trials=6",
        "~hydra.sweeper.at_most.residual",
        "+hydra.sweeper.at_most.seconds_per_sample=1000",
        f"hydra.sweeper.storage=sqlite:///{tmp_path}/search.db",
        "guidance.gamma=tag(log,interval(1,50))",
        "sampler.steps=2,3",
    ]
    words = command(tmp_path, "sweep", *options)
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(list((tmp_path / "sweep").glob("*/metrics.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    said = whole(words)
    assert (
        "of 6 trials" in said
        and "best of 6 trials with seconds_per_sample ≤ 1000: alignment.all = " in said
    )
    with open(tmp_path / "sweep" / "sweep.csv", newline="") as file:
        names = [row["job"] for row in csv.DictReader(file)]
    found = [dict(re.findall(r"(\S+)=(\S+)", name)) for name in names]
    assert all(
        1 <= float(job["guidance.gamma"]) <= 50 and job["sampler.steps"] in ("2", "3")
        for job in found
    )
    said = whole(words)
    assert "6 of 6 trials" in said and "HYDRA] Launching" not in said


def test_a_search_says_that_its_bound_is_never_measured(tmp_path):
    (tmp_path / "metrics.json").write_text('{"alignment": {"all": 0.5}, "frechet_judge": null}')
    search = Search(None, "sqlite:///x.db", 1, 1, "alignment.all", {"frechet_judge": 30}, 0)
    hydra = SimpleNamespace(runtime=SimpleNamespace(output_dir=tmp_path))
    job = SimpleNamespace(return_value=None, hydra_cfg=SimpleNamespace(hydra=hydra))
    with pytest.raises(UserError, match="the trials measure no frechet_judge.*num_samples=128"):
        search.tell(None, None, job)


def test_a_search_names_the_whole_command_of_the_best_trial(tmp_path, monkeypatch, capsys):
    pytest.importorskip("optuna")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "sample.py")])
    monkeypatch.chdir(ROOT)

    def launch(jobs, initial_job_idx):
        """Trials that show as much as γ is large."""
        ended = []
        for number, words in enumerate(jobs, initial_job_idx):
            folder = tmp_path / str(number)
            folder.mkdir()
            gamma = float(words[-1].removeprefix("guidance.gamma="))
            (folder / "metrics.json").write_text(json.dumps({"alignment": {"all": gamma / 100}}))
            hydra = SimpleNamespace(runtime=SimpleNamespace(output_dir=folder))
            ended.append(SimpleNamespace(return_value=None, hydra_cfg=SimpleNamespace(hydra=hydra)))
        return ended

    search = Search(None, f"sqlite:///{tmp_path}/search.db", 8, 2, "alignment.all", None, 0)
    search.hydra_context = SimpleNamespace(config_loader=None)
    search.launcher = SimpleNamespace(launch=launch)
    rest = ["data=shapes", "prompt='a red heart, striped'"]
    search.sweep([*rest, "guidance.gamma=2,50"])
    said, _, best = capsys.readouterr().out.rpartition("alignment.all = 0.500: ")
    assert said.endswith("best of 8 trials: ")
    assert shlex.split(best) == ["python", "sample.py", *rest, "guidance.gamma=50"]


@pytest.mark.slow
def test_the_same_command_finds_its_own_folder_whatever_else_changes(
    run, tiny, tmp_path, monkeypatch, capsys
):
    options = [option for option in tiny if not option.startswith(("hydra", "num_samples"))] + [
        "hydra.run.dir=null"
    ]

    def folder(*more):
        run(
            "sample.py",
            *options[:-1],
            "num_samples=1",
            "eval.reading=false",
            *more,
            f"hydra.run.dir={tmp_path}/${{run_name:}}",
        )
        return Path(capsys.readouterr().out.rstrip().rpartition("results: ")[2])

    first = folder()
    assert first.name.startswith("text_sdg_") and first == folder("eval.grid=1") == folder(
        "logger=none", "trajectory=1"
    )  # these change no sample
    others = {
        folder("guidance.gamma=1"),
        folder("seed=1"),
        folder("images=shards"),
        folder("sampler=ddim", "sampler.steps=3"),
    }
    assert len(others | {first}) == 5


@pytest.mark.parametrize(
    "swept", ["range(0,10,3)", "range(1.0,2.0,0.5)", "range(5)", "range(9,0,-4)", "range(0,1,0.3)"]
)
def test_a_search_over_a_range_has_the_values_of_a_sweep(swept):
    override = OverridesParser.create().parse_override(f"sampler.steps={swept}")
    space = distribution(override)
    steps = round((space.high - space.low) / space.step) + 1
    values = [space.low + number * space.step for number in range(steps)]
    assert values == pytest.approx(sorted(override.sweep_iterator()))


@pytest.mark.parametrize("swept", ["range(3,3)", "range(5,1)"])
def test_a_search_over_an_empty_range_is_refused(swept):
    override = OverridesParser.create().parse_override(f"sampler.steps={swept}")
    with pytest.raises(UserError, match="has no value"):
        distribution(override)
