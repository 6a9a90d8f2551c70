"""A training goes on with the settings that it began with, or not at all."""

import os
import shutil

import pytest
import torch
from tiny_training import words


@pytest.fixture(scope="module")
def first(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    run(*words(folder))
    return folder


@pytest.fixture
def continued(first):
    """The command that goes on with that run in a folder beside it."""

    def command(**changed):
        return words(first.parent / "next", **{"trainer__max_steps": 4, **changed})

    yield command
    shutil.rmtree(first.parent / "next", ignore_errors=True)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"data__size": 48}, "data.size was 64 and is 48"),
        ({"seed": 5}, "seed was 0 and is 5"),
        ({"optimizer__lr": 0.5}, "optimizer.lr was 0.001 and is 0.5"),
        ({"schedule": "linear"}, 'schedule.kind was "cosine" and is "linear"'),
        ({"denoiser__prediction": "v"}, 'denoiser.prediction was "x0" and is "v"'),
        ({"denoiser__network__norm_num_groups": 4}, "norm_num_groups was 8 and is 4"),
        ({"trainer__gradient_clip_val": "null"}, "gradient_clip_val was 1.0 and is null"),
        ({"data__captions": "true"}, "data.captions was false and is true"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_other_settings_are_refused_and_named(first, continued, refusal, changed, told):
    line = refusal(*continued(**changed), f"ckpt_path={first}/checkpoints/last.ckpt")
    assert told in line and "first/checkpoints/last.ckpt cannot be continued" in line


def test_other_data_is_refused(first, continued, refusal):
    changed = continued(data__size=64)
    line = refusal(*changed, "data=portraits", "data.resolution=32", "resume=true")
    assert "data._target_ was " in line and 'and is "sdg.data.portraits_data' in line


def test_many_differences_are_counted(first, continued, refusal):
    changed = {
        "seed": 1,
        "data__seed": 1,
        "data__size": 48,
        "optimizer__lr": 1,
        "data__masks": "true",
    }
    assert line_count(refusal(*continued(**changed), "resume=true")) == (3, "and 2 more")


def line_count(line: str) -> tuple[int, str]:
    """How many differences a refusal names, and what it says of the others."""
    return line.count(" was "), line.split("; ")[-1].partition(".")[0]


def test_what_changes_no_step_may_differ(first, continued, run):
    run(
        *continued(
            data__num_workers=1,
            trainer__val_check_interval=1,
            trainer__precision="bf16-mixed",
            trainer__log_every_n_steps=1,
            logger="csv",
            half="true",
            name="another",
            optimizer__fused="false",
            denoiser__clip="true",  # what null means of images
        ),
        f"ckpt_path={first}/checkpoints/last.ckpt",
    )
    last = first.parent / "next/checkpoints/last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 4


def test_a_refusal_leaves_the_folder_of_the_run_as_it_was(first, refusal):
    config = (first / "config.yaml").read_text()
    again = words(first, trainer__max_steps=4, data__size=48)
    for _ in range(2):  # the second time must not find the first one's config
        assert "data.size was 64 and is 48" in refusal(*again, "resume=true")
        assert (first / "config.yaml").read_text() == config


def test_a_training_is_not_replaced_by_a_new_one_in_its_folder(first, refusal, tmp_path):
    before = {file: file.read_bytes() for file in first.rglob("*") if file.is_file()}
    assert "holds a training already" in refusal(*words(first))
    shutil.copytree(first, tmp_path / "other")
    other = f"ckpt_path={tmp_path}/other/checkpoints/last.ckpt"
    assert "holds a training already" in refusal(*words(first, trainer__max_steps=4), other)
    assert before == {file: file.read_bytes() for file in first.rglob("*") if file.is_file()}


def test_the_checkpoint_of_most_steps_is_taken_whatever_the_clock_says(run, tmp_path, capsys):
    folder, beside = tmp_path / "runs/own", tmp_path / "runs/beside"
    run(*words(folder, callbacks__checkpoint__every_n_train_steps=1))
    shutil.copytree(folder, beside)
    checkpoints = folder / "checkpoints"
    shutil.copy(checkpoints / "last.ckpt", checkpoints / "step=2.ckpt")
    early = torch.load(checkpoints / "last.ckpt", weights_only=True) | {"global_step": 1}
    torch.save(early, checkpoints / "step=1.ckpt")
    for seconds, name in enumerate(("last", "step=2", "step=1")):
        os.utime(checkpoints / f"{name}.ckpt", (1e9 + seconds,) * 2)
    capsys.readouterr()
    run(*words(folder, trainer__max_steps=3), "resume=true")  # not the newer one beside it
    assert f"resuming from {checkpoints / 'last.ckpt'}" in capsys.readouterr().out


@pytest.mark.slow
def test_an_older_checkpoint_is_known_by_the_config_beside_it(
    first, continued, refusal, tmp_path, run, capsys
):
    older = tmp_path / "older"
    (older / "checkpoints").mkdir(parents=True)
    file = older / "checkpoints/last.ckpt"
    held = torch.load(first / "checkpoints/last.ckpt", weights_only=True)
    del held["settings"]
    torch.save(held, file)
    shutil.copy(first / "config.yaml", older)
    assert "data.size was 64 and is 48" in refusal(*continued(data__size=48), f"ckpt_path={file}")
    (older / "config.yaml").unlink()
    run(*continued(), f"ckpt_path={file}")
    assert "does not tell its settings" in capsys.readouterr().out


@pytest.mark.slow
def test_an_edited_file_of_negative_captions_makes_other_samples(run, refusal, tiny, tmp_path):
    captions = tmp_path / "captions.txt"
    words = [*tiny, f"similarity.text.negative_captions={captions}", "prompt=a ring"]
    captions.write_text("a red heart\n")
    run("sample.py", *words)
    captions.write_text("a blue disc\na green star\n")
    assert "rerun=true" in refusal("sample.py", *words)
    captions.write_text("a red heart\n")
    run("sample.py", *words)
