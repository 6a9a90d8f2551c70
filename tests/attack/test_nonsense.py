"""What is no number is never a result: losses, weights, samples and figures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attacking import errors, outcome
from safetensors.torch import load_file, save_file
from tiny_training import words

from sdg.io.metadata import metadata_of
from sdg.io.tensors import not_finite

ROOT = Path(__file__).parents[2]
# An optimizer that the schema does not know may have any rate.
WILD = {"trainer__max_steps": 8, "optimizer._target_": "wild.Wild"}


@pytest.fixture
def attack(run, tally, tmp_path):
    """Runs a command that must end with one line, which is given back, and counts it."""

    def attacked(script: str, *arguments: str) -> str:
        log = tmp_path / "log"
        came = outcome(lambda: run(script, *arguments), log)
        tally.add("wrong result" if came == "accepted" else came)
        assert came == "clear line", log.read_text()[-2000:]
        return errors(log.read_text())[0]

    return attacked


@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer__lr": "1e30"},
        {"optimizer__lr": "1e38", "callbacks__checkpoint__every_n_train_steps": 1},
        {"optimizer__lr": "1e30", "trainer__accumulate_grad_batches": 2},
        {"optimizer__lr": "1e30", "trainer__gradient_clip_val": "null"},
    ],
    ids=str,
)
def test_a_training_that_diverges_ends_and_keeps_no_nonsense(attack, tmp_path, changed):
    folder = tmp_path / "run"
    line = attack(*words(folder, **(WILD | changed)))
    assert "NaN or infinite" in line or "beyond what float32 holds" in line
    assert "optimizer.lr" in line
    for file in folder.rglob("*.ckpt"):
        assert not not_finite(torch.load(file, weights_only=True)["state_dict"]), file
    assert not list(folder.rglob("*.safetensors"))


def test_a_loss_that_is_nan_names_step_and_images_and_the_last_good_checkpoint(
    attack, weights, tmp_path
):
    folder = tmp_path / "run"
    line = attack(
        *words(
            folder,
            **WILD,
            optimizer__lr="1e30",
            callbacks__checkpoint__every_n_train_steps=1,
        )
    )
    assert "the loss of step " in line and "images " in line and "with noise of seed 0" in line
    if kept := list(folder.rglob("*.ckpt")):
        assert any(str(file) in line for file in kept)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["denoiser", "clip", "clip_noisy", "judge"])
def test_weights_that_are_no_numbers_are_refused(attack, weights, tiny, tmp_path, kind, value):
    settings = {
        "denoiser": "denoiser.weights",
        "clip": "eval.clip",
        "clip_noisy": "encoder.weights",
        "judge": "eval.judge",
    }
    whole = weights / f"{kind}.safetensors"
    tensors = load_file(whole)
    name = max(tensors, key=lambda name: tensors[name].numel())
    tensors[name].view(-1)[-1] = value
    broken = tmp_path / whole.name
    save_file(tensors, broken, metadata_of(whole))
    line = attack("sample.py", *tiny, f"{settings[kind]}={broken}")
    assert name in line and "NaN or infinite" in line


def test_samples_that_are_no_numbers_are_not_kept(attack, tiny, tmp_path):
    line = attack("sample.py", *tiny, "guidance.gamma=1e38", "similarity.text.weight=1e30")
    assert "the samples overflowed" in line
    assert not list(tmp_path.rglob("*.png"))


def test_a_figure_that_is_no_number_is_not_written(attack, tiny, tmp_path):
    line = attack("sample.py", *tiny, "+eval.metrics.own._target_=nonsense.Nothing")
    assert "metrics.own is nan" in line
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert len(list((tmp_path / "run" / "images").iterdir())) == 4


def test_a_checkpoint_whose_weights_are_nan_is_not_continued(attack, run, tmp_path):
    run(*words(tmp_path / "first"))
    last = tmp_path / "first" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    for value in content["state_dict"].values():
        value.fill_(torch.nan) if value.is_floating_point() else None
    torch.save(content, last)
    line = attack(*words(tmp_path / "next", trainer__max_steps=4), f"ckpt_path={last}")
    assert "NaN or infinite" in line


@pytest.mark.parametrize("rank", [0, 1, None])
def test_all_of_two_processes_end_where_one_of_them_diverges(tmp_path, tally, rank):
    poison = {"_target_": "poison.Poison", "rank": rank, "batch": 1}
    settings = words(tmp_path / "run", trainer__max_steps=50, trainer__max_epochs=-1)
    settings += [
        f"+callbacks.poison.{key}={'null' if value is None else value}"
        for key, value in poison.items()
    ]
    command = [sys.executable, *settings, "data=shapes", "trainer=ddp_cpu"]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": paths}
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    told = ran.stdout + ran.stderr
    assert ran.returncode == 1 and "Traceback" not in told and "gloo" not in told, told
    (said,) = errors(told)
    assert "the loss of step 1 is NaN or infinite" in said, told
    assert not list((tmp_path / "run").rglob("*.safetensors"))
    tally.add("clear line")
