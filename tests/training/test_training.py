"""Each module of `train.py` for a few steps.

What it leaves, what resume restores, what export takes.
"""

import csv
import io
import json
import shutil
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from conftest import CACHE
from PIL import Image

from sdg.diffusion.noise import Noise
from sdg.diffusion.samplers import DDIM
from sdg.diffusion.sampling import sample
from sdg.io.weights import read_weights
from sdg.models.registry import load_clip, load_clip_noisy, load_denoiser, load_judge
from sdg.models.unet import UNetEncoder
from sdg.report.grid import plain_grid
from sdg.training.module import TrainingModule

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "data.size=96",
    "data.held_out=32",
    f"data.cache={CACHE}",
    "data.batch_size=32",
    "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1",
    "callbacks.checkpoint.every_n_train_steps=2",
]
UNET = [
    "denoiser.network.block_out_channels=[16,16]",
    "denoiser.network.down_block_types=[DownBlock2D,DownBlock2D]",
    "denoiser.network.up_block_types=[UpBlock2D,UpBlock2D]",
    "denoiser.network.attention_head_dim=8",
    "module.preview=4",
]


def checkpoint(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def shards(folder, count, each):
    """Tar files of pictures."""
    generator = np.random.default_rng(0)
    for k in range(count):
        with tarfile.open(folder / f"{k}.tar", "w") as tar:
            for i in range(each):
                file = io.BytesIO()
                Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
                    file, "PNG"
                )
                member = tarfile.TarInfo(f"{k}-{i}.png")
                member.size = file.tell()
                file.seek(0)
                tar.addfile(member, file)


@pytest.fixture(scope="module")
def denoiser_run(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("denoiser") / "first"
    run(
        "train.py",
        *SMALL,
        *UNET,
        "trainer.max_steps=4",
        "callbacks.ema.decay=0.5",
        f"hydra.run.dir={folder}",
    )
    return folder


def test_a_run_leaves_what_made_it(denoiser_run):
    versions = json.loads((denoiser_run / "versions.json").read_text())
    assert versions["seed"] == 0 and torch.__version__.startswith(versions["versions"]["torch"])
    for file in (
        "config.yaml",
        "metrics.csv",
        "denoiser/README.md",
        "denoiser/config.json",
        "denoiser/model_index.json",
        "denoiser/unet/diffusion_pytorch_model.safetensors",
        "checkpoints/last.ckpt",
        "samples/step-000004.png",
    ):
        assert (denoiser_run / file).is_file(), file
    with open(denoiser_run / "metrics.csv") as table:
        columns = csv.DictReader(table).fieldnames
    assert {"train/loss", "val/loss", "val/loss_t0", "val/loss_t800", "lr-AdamW"} <= set(columns)


def test_export_takes_the_averaged_weights(denoiser_run):
    saved = checkpoint(denoiser_run)
    averaged, raw = saved["state_dict"], saved["current_model_state"]
    exported = load_denoiser(denoiser_run / "denoiser").state_dict()
    assert any(not torch.equal(averaged[name], raw[name]) for name in raw)
    for name, value in exported.items():
        assert torch.equal(value, averaged[f"model.{name}"]), name


@pytest.mark.slow
def test_the_card_has_the_figures_of_its_weights(run, tmp_path):
    """Whatever the interval, the last validation follows the last step, unless it did already."""
    for interval, when in ((2, [2, 3]), (3, [3]), (50, [3])):
        folder = tmp_path / str(interval)
        run(
            "train.py",
            *SMALL,
            *UNET,
            "trainer.max_steps=3",
            f"trainer.val_check_interval={interval}",
            "+trainer.limit_val_batches=1",
            "callbacks.ema.decay=0.5",
            f"hydra.run.dir={folder}",
        )
        assert sorted(file.name for file in (folder / "samples").iterdir()) == [
            f"step-{step:06d}.png" for step in when
        ]
        assert "| val/loss |" in (folder / "denoiser" / "README.md").read_text()


def test_previews_show_the_averaged_weights(denoiser_run):
    model = load_denoiser(
        denoiser_run / "denoiser"
    )  # the average after step 4, at which validation drew too
    expected = (
        plain_grid(sample(model, DDIM(25), Noise(range(4), (3, 32, 32)))).permute(1, 2, 0).numpy()
    )
    with Image.open(denoiser_run / "samples" / "step-000004.png") as drawn:
        assert np.abs(np.asarray(drawn).astype(int) - expected).max() <= 1


def test_every_rank_and_step_draws_noise_of_its_own_and_draws_it_again():
    def draw(rank, step, seed):
        TrainingModule.on_train_batch_start(
            SimpleNamespace(global_rank=rank, global_step=step, seed=seed), {}, step
        )
        return torch.rand(1).item()

    places = [(rank, step, seed) for rank in (0, 1) for step in (0, 1) for seed in (0, 1)]
    first = [draw(*place) for place in places]
    assert len(set(first)) == len(places) and [draw(*place) for place in places] == first


@pytest.mark.parametrize(
    "precision, clip, fused",
    [
        ("16-mixed", 1.0, False),
        ("16-mixed", None, True),
        ("bf16-mixed", 1.0, True),
        ("32-true", 1.0, True),
    ],
)
def test_the_optimizer_is_fused_where_its_gradients_can_be_cut(precision, clip, fused):
    module = SimpleNamespace(
        trainer=SimpleNamespace(precision=precision, gradient_clip_val=clip),
        model=torch.nn.Linear(2, 2),
        optimizer=partial(torch.optim.AdamW, fused=True),
    )
    assert TrainingModule.new_optimizer(module).defaults["fused"] is fused


def test_a_finished_run_is_not_resumed(denoiser_run, run, tmp_path):
    with pytest.raises(
        SystemExit,
        match="has taken 4 steps already, and .*denoiser holds their weights; "
        "raise trainer.max_steps",
    ):
        run(
            "train.py",
            *SMALL,
            *UNET,
            "trainer.max_steps=4",
            "callbacks.ema.decay=0.5",
            f"ckpt_path={denoiser_run}/checkpoints/last.ckpt",
            f"hydra.run.dir={tmp_path}/run",
        )


def test_a_run_that_was_killed_before_it_wrote_its_weights_gives_them_when_resumed(
    denoiser_run, run, tmp_path
):
    shutil.copytree(denoiser_run / "checkpoints", tmp_path / "killed" / "checkpoints")
    run(
        "train.py",
        *SMALL,
        *UNET,
        "trainer.max_steps=4",
        "callbacks.ema.decay=0.5",
        f"ckpt_path={tmp_path}/killed/checkpoints/last.ckpt",
        f"hydra.run.dir={tmp_path}/run",
    )
    expected, found = (
        load_denoiser(folder / "denoiser").state_dict()
        for folder in (denoiser_run, tmp_path / "run")
    )
    assert all(torch.equal(value, found[name]) for name, value in expected.items())

    def figures(folder):
        lines = (folder / "denoiser" / "README.md").read_text().splitlines()
        return [line for line in lines if line.startswith("| val/loss")]

    assert len(figures(denoiser_run)) == 6
    assert figures(denoiser_run) == figures(tmp_path / "run")


def test_a_card_names_no_folder_of_its_owner(denoiser_run):
    card = (denoiser_run / "denoiser" / "README.md").read_text()
    assert "dirpath: ./checkpoints" in card and str(denoiser_run) not in card


def test_what_is_no_checkpoint_says_so(run, tmp_path):
    (tmp_path / "last.ckpt").write_text("not one")
    with pytest.raises(SystemExit, match="damaged or no checkpoint"):
        run(
            "train.py",
            *SMALL,
            *UNET,
            "trainer.max_steps=4",
            f"ckpt_path={tmp_path}/last.ckpt",
            f"hydra.run.dir={tmp_path}/run",
        )


def test_the_last_step_is_kept_whatever_the_interval(run, tmp_path):
    run(
        "train.py",
        *SMALL,
        *UNET,
        "trainer.max_steps=3",
        "callbacks.ema.decay=0.5",
        "logger=none",
        f"hydra.run.dir={tmp_path}/run",
    )
    saved = checkpoint(tmp_path / "run")
    assert saved["global_step"] == 3 and any(
        not torch.equal(saved["state_dict"][name], saved["current_model_state"][name])
        for name in saved["current_model_state"]
    )
    assert "val/loss" in (tmp_path / "run" / "denoiser" / "README.md").read_text()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([], id="shapes"),
        pytest.param(["data.num_workers=2"], id="workers", marks=pytest.mark.slow),
        pytest.param(["encoder=clip"], id="captions", marks=pytest.mark.slow),
        pytest.param(
            [
                "data=webdataset",
                "data.resolution=32",
                "data.size=96",
                "data.held_out=8",
                "data.num_workers=2",
                "data.buffer=20",
            ],
            id="tar files",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_resume_continues_as_if_it_had_not_stopped(run, tmp_path, data):
    """Steps 5 and 6 after a resume equal those of a run that did not stop.

    Weights, average, optimizer, schedule and the place in the epoch, of three steps, came back.
    """
    if "data=webdataset" in data:
        shards(tmp_path, 5, 24)
        data = [*data, f"data.urls='{tmp_path}/*.tar'"]
    small = [
        option
        for option in SMALL
        if not data
        or "webdataset" not in data[0]
        or not option.startswith("data.")
        or "batch_size" in option
    ]
    network = [] if "encoder=clip" in data else [*UNET, "module.preview=0"]
    settings = [
        *small,
        *network,
        *data,
        "callbacks.ema.decay=0.5",
        "trainer.max_steps=6",
        "callbacks.checkpoint.save_top_k=-1",
    ]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run("train.py", *settings, f"hydra.run.dir={whole}")
    (middle,) = (whole / "checkpoints").glob("step=4*.ckpt")
    run("train.py", *settings, f"ckpt_path='{middle}'", f"hydra.run.dir={resumed}")
    expected, found = checkpoint(whole), checkpoint(resumed)
    assert found["global_step"] == expected["global_step"] == 6
    assert (
        found["optimizer_states"][0]["state"][0]["step"]
        == expected["optimizer_states"][0]["state"][0]["step"]
    )
    assert found["lr_schedulers"][0]["last_epoch"] == expected["lr_schedulers"][0]["last_epoch"]
    for part in ("state_dict", "current_model_state"):
        for name, value in expected[part].items():
            torch.testing.assert_close(found[part][name], value, rtol=0, atol=1e-6, msg=name)
    start = torch.load(middle, weights_only=True)["current_model_state"]
    assert any(
        (expected["current_model_state"][name] - start[name]).abs().max() > 1e-4
        for name in start
        if start[name].is_floating_point()
    )


def test_resume_true_finds_the_newest_run(denoiser_run, run, capsys):
    run(
        "train.py",
        *SMALL,
        *UNET,
        "trainer.max_steps=6",
        "callbacks.ema.decay=0.5",
        "resume=true",
        f"hydra.run.dir={denoiser_run.parent}/second",
    )
    assert f"resuming from {denoiser_run}/checkpoints/last.ckpt" in capsys.readouterr().out
    assert checkpoint(denoiser_run.parent / "second")["global_step"] == 6


@pytest.mark.slow
def test_clip_then_noise_aware_then_judge(run, tmp_path):
    clip, noisy, judge = (tmp_path / name for name in ("clip", "noisy", "judge"))
    run("train.py", "encoder=clip", *SMALL, "trainer.max_steps=2", f"hydra.run.dir={clip}")
    run(
        "train.py",
        "encoder=clip_noisy",
        *SMALL,
        f"encoder.clip={clip}/clip",
        "trainer.max_steps=2",
        f"hydra.run.dir={noisy}",
    )
    run(
        "train.py",
        "encoder=judge",
        *SMALL,
        "trainer.max_steps=2",
        "half=true",
        f"hydra.run.dir={judge}",
    )
    teacher, encoder = load_clip(clip / "clip"), load_clip_noisy(noisy / "clip_noisy")
    assert encoder.logit_scale.item() == pytest.approx(
        teacher.logit_scale.item()
    )  # the temperature travels along
    assert read_weights(noisy / "clip_noisy", "clip_noisy")[0]["schedule"] == {
        "kind": "cosine",
        "T": 1000,
    }
    assert load_judge(judge / "judge")(torch.zeros(2, 3, 32, 32)).guesses().shape == (2, 5)
    with open(noisy / "metrics.csv") as table:
        assert {"val/top1_t400", "val/clean_top1_t400"} <= set(csv.DictReader(table).fieldnames)


def pngs(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((folder / "images").iterdir())]


def moved(guided: Path, unguided: Path) -> bool:
    """Whether every sample of the same seeds is another image."""
    ours, theirs = pngs(guided), pngs(unguided)
    return len(ours) == len(theirs) == 4 and all(map(bytes.__ne__, ours, theirs))


@pytest.mark.slow
def test_a_calibrated_encoder_learns_by_distillation_and_score_matching(
    run, weights, tiny, tmp_path
):
    (tmp_path / "bank.txt").write_text("a red heart\na blue ring\na small star\n")
    run(
        "train.py",
        "encoder=clip_noisy",
        "experiment=calibrated",
        *SMALL,
        "trainer.max_steps=2",
        f"encoder.clip={weights}/clip.safetensors",
        f"init={weights}/clip_noisy.safetensors",
        "module.width=32",
        "module.hidden=32",
        "module.bank_size=48",
        f"module.bank=[captions,templates,{tmp_path}/bank.txt]",
        "module.score_weight=0.01",
        "module.score_batch=4",
        f"module.denoiser={weights}/denoiser.safetensors",
        f"hydra.run.dir={tmp_path}/run",
    )
    encoder = load_clip_noisy(tmp_path / "run" / "clip_noisy")
    assert encoder.calibrated and encoder.length.weight.abs().sum() > 0
    with open(tmp_path / "run" / "metrics.csv") as table:
        rows = list(csv.DictReader(table))
    for figure in (
        "train/posterior",
        "train/score",
        "val/posterior_t400",
        "val/calibration_captions_t400",
        "val/calibration_templates_t400",
    ):
        values = [float(row[figure]) for row in rows if row.get(figure)]
        assert values and np.isfinite(values).all(), figure
    assert not any("contrastive" in name for name in rows[0])
    run(
        "sample.py",
        *tiny,
        f"encoder.weights={tmp_path}/run/clip_noisy",
        "prompt=a red heart",
        "guidance.normalize=true",
        f"hydra.run.dir={tmp_path}/sampled",
    )
    run("sample.py", *tiny, "guidance.gamma=0", f"hydra.run.dir={tmp_path}/unguided")
    assert moved(tmp_path / "sampled", tmp_path / "unguided")


@pytest.mark.slow
def test_the_papers_objective_is_an_experiment(run, weights, tmp_path):
    run(
        "train.py",
        "encoder=clip_noisy",
        "experiment=contrastive",
        *SMALL,
        "trainer.max_steps=1",
        f"encoder.clip={weights}/clip.safetensors",
        "module.width=32",
        "module.hidden=32",
        f"hydra.run.dir={tmp_path}/run",
    )
    assert not load_clip_noisy(tmp_path / "run" / "clip_noisy").calibrated


@pytest.mark.slow
@pytest.mark.parametrize("estimate", [False, True])
def test_an_encoder_that_starts_as_the_denoisers_half_learns_and_guides(
    run, weights, tiny, tmp_path, estimate
):
    run(
        "train.py",
        "encoder=clip_noisy",
        "experiment=calibrated",
        *SMALL,
        "trainer.max_steps=2",
        f"encoder.clip={weights}/clip.safetensors",
        "module.tower=denoiser",
        "module.hidden=32",
        "module.level_power=0.5",
        f"module.denoiser={weights}/denoiser.safetensors",
        "module.score_weight=0.01",
        "module.score_batch=4",
        f"module.estimate={estimate}",
        "module.robust_radius=0.5",
        "module.on_policy_share=0.5",
        "module.on_policy_steps=2",
        f"hydra.run.dir={tmp_path}/run",
    )
    encoder = load_clip_noisy(tmp_path / "run" / "clip_noisy")
    assert isinstance(encoder, UNetEncoder) and encoder.calibrated
    assert encoder.config.get("estimate", False) == estimate
    run(
        "sample.py",
        *tiny,
        f"encoder.weights={tmp_path}/run/clip_noisy",
        "prompt=a red heart",
        "similarity=[text,structure,style]",
        "guidance.normalize=true",
        f"hydra.run.dir={tmp_path}/sampled",
    )
    run("sample.py", *tiny, "guidance.gamma=0", f"hydra.run.dir={tmp_path}/unguided")
    assert moved(tmp_path / "sampled", tmp_path / "unguided")


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["module.tower=denoiser"], "set module.denoiser=FILE"),
        (["module.estimate=true"], "own half: set module.tower=denoiser"),
        (["module.robust_radius=1"], "needs module.posterior_weight or module.score_weight"),
        (["module.on_policy_share=0.5"], "needs module.posterior_weight or module.score_weight"),
        (
            ["module.posterior_weight=1", "module.bank=templates", "module.on_policy_share=0.5"],
            "module.on_policy_share needs a denoiser: set module.denoiser=FILE",
        ),
        (["module.contrastive_weight=0", "module.cosine_weight=0"], "every objective has weight 0"),
        (["module.posterior_weight=1"], "set data.captions=true"),
        (
            ["module.posterior_weight=1", "module.bank=nowhere.txt"],
            "there is no file 'nowhere.txt'",
        ),
        (["module.score_weight=1", "module.bank=templates"], "set module.denoiser=FILE"),
        (["module.posterior_weight=1", "module.bank=[]"], r"module\.bank must be .*, not \[\]"),
    ],
)
def test_an_objective_that_lacks_something_says_what(run, weights, tmp_path, overrides, says):
    with pytest.raises(SystemExit, match=says):
        run(
            "train.py",
            "encoder=clip_noisy",
            *SMALL,
            f"encoder.clip={weights}/clip.safetensors",
            "trainer.max_steps=1",
            *overrides,
            f"hydra.run.dir={tmp_path}/run",
        )


@pytest.mark.slow
def test_a_clip_learns_from_captions_that_are_wrong_in_one_value(run, tmp_path):
    folder = tmp_path / "run"
    run(
        "train.py",
        "data=portraits",
        "encoder=clip",
        *SMALL,
        "data.resolution=32",
        "encoder.model.vision_cfg.timm_model_name=resnet_small",
        "trainer.max_steps=2",
        "data.hard_negatives=3",
        "module.negative_weight=1",
        f"hydra.run.dir={folder}",
    )
    with open(folder / "metrics.csv") as file:
        told = [row["train/negative_loss"] for row in csv.DictReader(file)]
    # Before it has learned anything one of four captions is as good as another.
    assert abs(float(next(filter(None, told))) - np.log(4)) < 0.3


def test_a_clip_without_such_captions_says_where_they_come_from(run, tmp_path):
    with pytest.raises(SystemExit, match=r"set data\.hard_negatives=4"):
        run(
            "train.py",
            "data=shapes",
            "encoder=clip",
            *SMALL,
            "trainer.max_steps=1",
            "module.negative_weight=1",
            f"hydra.run.dir={tmp_path}/run",
        )


def test_fine_tuning_never_touches_the_teacher_and_sees_no_captions(weights):
    from functools import partial

    from sdg.training import NoiseAwareFinetuning

    clip = load_clip(weights / "clip.safetensors")
    module = NoiseAwareFinetuning(
        clip,
        32,
        {"kind": "cosine", "T": 1000},
        32,
        32,
        100.0,
        1.0,
        [0],
        optimizer=partial(torch.optim.SGD, lr=0.1),
        lr_schedule=None,
    )
    module.log_dict, module.gather = lambda *args, **kwargs: None, lambda z: z[None]
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    torch.manual_seed(0)
    loss = module.training_step(
        {"image": torch.rand(8, 3, 32, 32) * 2 - 1}, 0
    )  # images alone: no captions, no labels
    loss.backward()
    assert all(p.grad is None for p in module.teacher.parameters())
    assert module.model.training and all(
        p.requires_grad for p in module.model.parameters()
    )  # the whole copy learns, not the new part alone
    assert (
        all(p.grad is not None for p in module.model.parameters())
        and module.model.tower.trunk.conv1[0].weight.grad.abs().sum() > 0
    )
    assert all(
        torch.equal(value, before[name]) for name, value in module.teacher.state_dict().items()
    )


def test_a_folder_of_images_trains_the_denoiser_and_the_noise_aware_encoder(run, weights, tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(40):
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
            tmp_path / "images" / f"{i}.png"
        )
    data = [
        "data=folder",
        f"data.root={tmp_path}/images",
        "data.batch_size=16",
        "data.num_workers=0",
        "trainer.max_steps=2",
        "trainer.val_check_interval=2",
    ]
    run("train.py", *data, *UNET, f"hydra.run.dir={tmp_path}/denoiser")
    run(
        "train.py",
        "encoder=clip_noisy",
        f"encoder.clip={weights}/clip.safetensors",
        *data,
        f"hydra.run.dir={tmp_path}/noisy",
    )
    assert (tmp_path / "denoiser" / "denoiser" / "README.md").is_file() and (
        tmp_path / "noisy" / "clip_noisy" / "README.md"
    ).is_file()
    with pytest.raises(SystemExit, match="40 of 40 images .* have no caption"):
        run("train.py", "encoder=clip", *data, f"hydra.run.dir={tmp_path}/clip")


@pytest.mark.slow
def test_captions_of_a_folder_train_a_clip_that_guides(run, tiny, tmp_path, capsys, refusal):
    generator, words = np.random.default_rng(0), ("dawn", "dusk", "rain")
    (tmp_path / "images").mkdir()
    for i in range(40):
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
            tmp_path / "images" / f"{i}.png"
        )
        (tmp_path / "images" / f"{i}.txt").write_text(
            f"The harbour at {words[i % 3]}, it's {i % 7} o'clock."
        )
    (tmp_path / "images" / "7.png").write_bytes(b"broken")
    data = [
        "data=folder",
        f"data.root={tmp_path}/images",
        "data.held_out=0.3",
        "data.num_workers=0",
    ]
    train = [
        *data,
        "data.batch_size=16",
        "trainer.max_steps=2",
        "trainer.val_check_interval=1",
        "logger=csv",
    ]
    run("train.py", "encoder=clip", *train, f"hydra.run.dir={tmp_path}/clip")
    assert "1 of 40 images could not be read and were skipped: 7.png." in capsys.readouterr().out
    assert "val/top1" in (tmp_path / "clip" / "metrics.csv").read_text().splitlines()[0]
    clip = load_clip(tmp_path / "clip" / "clip")
    assert {"harbour", "it's", "o'clock", "dusk", "6"} <= set(clip.config["words"]) and clip.config[
        "model"
    ]["text_cfg"]["vocab_size"] == len(clip.config["words"]) + 3
    run(
        "train.py",
        "encoder=clip_noisy",
        f"encoder.clip={tmp_path}/clip/clip",
        *train,
        f"hydra.run.dir={tmp_path}/noisy",
    )
    kept = [option for option in tiny if option.startswith(("denoiser", "sampler", "num_samples"))]
    sample = [
        *kept,
        *data,
        f"encoder.weights={tmp_path}/noisy/clip_noisy",
        f"encoder.clip={tmp_path}/clip/clip",
        f"eval.clip={tmp_path}/clip/clip",
        f"eval.cache={tmp_path}/real",
        f"hydra.run.dir={tmp_path}/run",
    ]
    run("sample.py", *sample, "data.captions=true")
    table = (tmp_path / "run" / "samples.csv").read_text()
    assert (
        table.count("The harbour at") == 4
        and json.loads((tmp_path / "run" / "metrics.json").read_text())["similarity"] is not None
    )
    assert "does not know the word 'sunset'" in refusal("sample.py", *sample, "prompt=sunset")
    # With another word the rows of the embedding would mean other words.
    (tmp_path / "images" / "3.txt").write_text("The harbour at noon.")
    again = [
        "train.py",
        "encoder=clip",
        *train,
        "trainer.max_steps=4",
        f"ckpt_path={tmp_path}/clip/checkpoints/last.ckpt",
        f"hydra.run.dir={tmp_path}/again",
    ]
    assert "resume with the data and the settings that it began with" in refusal(*again)
    # What a worker of the loader finds out reaches the user as one line too.
    assert "7.png" in refusal(
        "train.py",
        "encoder=clip",
        *train,
        "data.num_workers=1",
        "data.max_broken=0",
        f"hydra.run.dir={tmp_path}/worker",
    )
    long = [*train, "encoder.model.text_cfg.context_length=6", f"hydra.run.dir={tmp_path}/long"]
    assert "has 7 words; the encoder takes at most 4" in refusal("train.py", "encoder=clip", *long)


@pytest.mark.parametrize(
    "logger, left",
    [
        ("tensorboard", "tensorboard/events.out*"),
        pytest.param("wandb", "wandb/offline-run-*", marks=pytest.mark.slow),
    ],
)
def test_loggers_need_no_login_and_no_prompt(run, tmp_path, monkeypatch, logger, left):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    run(
        "train.py",
        *SMALL,
        *UNET,
        "trainer.max_steps=1",
        f"logger={logger}",
        f"hydra.run.dir={tmp_path}/run",
    )
    assert list((tmp_path / "run").glob(left))


def test_init_starts_from_the_weights_of_a_file(denoiser_run, run, tmp_path):
    file = denoiser_run / "denoiser"
    run(
        "train.py",
        *SMALL,
        *UNET,
        "trainer.max_steps=1",
        "optimizer.lr=0",
        f"init={file}",
        f"hydra.run.dir={tmp_path}/run",
    )
    before, after = (
        load_denoiser(file).state_dict(),
        load_denoiser(tmp_path / "run" / "denoiser").state_dict(),
    )
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides", [UNET, ["encoder=clip_noisy"]], ids=["denoiser", "clip_noisy"]
)
def test_two_processes_train(weights, tmp_path, overrides):
    teacher = (
        [f"encoder.clip={weights}/clip.safetensors"] if "encoder=clip_noisy" in overrides else []
    )
    command = [
        sys.executable,
        "train.py",
        "data=shapes",
        *overrides,
        *teacher,
        *SMALL,
        "trainer=ddp_cpu",
        "trainer.max_steps=2",
        f"hydra.run.dir={tmp_path}/run",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("results: ") == 1
    assert len(list((tmp_path / "run").glob("*/README.md"))) == 1


@pytest.mark.slow
def test_a_clip_of_open_clips_becomes_noise_aware_at_the_denoisers_resolution_and_guides(
    run, tiny, tmp_path, monkeypatch
):
    model = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 16,
            "layers": 2,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-small", model)
    torch.save(open_clip.create_model("ViT-small").state_dict(), tmp_path / "clip.pt")
    named = ["encoder.name=ViT-small", f"encoder.pretrained={tmp_path}/clip.pt"]
    run(
        "train.py",
        "encoder=clip_noisy",
        *named,
        *SMALL,
        "trainer.max_steps=2",
        "encoder.freeze=[resblocks.0]",
        "encoder.checkpointing=true",
        f"hydra.run.dir={tmp_path}/noisy",
    )
    encoder = load_clip_noisy(tmp_path / "noisy" / "clip_noisy")
    theirs = torch.load(tmp_path / "clip.pt")
    assert (
        encoder.resolution == 32
        and encoder.tower.positional_embedding.shape == (17, 32)
        and theirs["visual.positional_embedding"].shape == (5, 32)
    )
    moved = [
        (
            encoder.tower.transformer.resblocks[i].mlp.c_fc.weight
            - theirs[f"visual.transformer.resblocks.{i}.mlp.c_fc.weight"]
        )
        .abs()
        .max()
        for i in (0, 1)
    ]
    assert moved[0] < 1e-6 < 1e-4 < moved[1]  # the average of equal weights is rounded
    kept = [option for option in tiny if not option.startswith(("encoder.", "eval.clip"))]
    for extra in (
        [f"encoder.weights={tmp_path}/noisy/clip_noisy"],
        ["encoder=clip", "guidance=dps"],
    ):
        run(
            "sample.py",
            *kept,
            *named,
            *extra,
            f"eval.clip='ViT-small:{tmp_path}/clip.pt'",
            "prompt=a red heart",
            "rerun=true",
        )
        figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
        assert (
            -1 <= figures["similarity"] <= 1
            and figures["cost_per_sample"]["encoder_backwards"] >= 2
        )
    # The same two settings fine-tune it on captions, and it measures images of a folder.
    run(
        "train.py",
        "encoder=clip",
        *named,
        *SMALL,
        "trainer.max_steps=2",
        f"hydra.run.dir={tmp_path}/tuned",
    )
    tuned = load_clip(tmp_path / "tuned" / "clip")
    assert tuned.resolution == 16 and not torch.equal(
        tuned.tower.conv1.weight, theirs["visual.conv1.weight"]
    )
    (tmp_path / "images").mkdir()
    for i in range(6):
        Image.new("RGB", (40, 40), (40 * i, 0, 0)).save(tmp_path / "images" / f"{i}.png")
    run(
        "sample.py",
        *[option for option in kept if not option.startswith("data.")],
        "data=folder",
        f"data.root={tmp_path}/images",
        "data.held_out=0.5",
        "data.num_workers=0",
        *named,
        f"encoder.weights={tmp_path}/noisy/clip_noisy",
        f"eval.clip='ViT-small:{tmp_path}/clip.pt'",
        f"eval.cache={tmp_path}/real",
        "prompt=a sunset by the sea",
        "rerun=true",
    )
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["diversity_clip"] is not None
