"""Every experiment, one fast step with small random weights of the same layout."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from adm import Net, random_weights
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from sdg_code import DEPTHS
from sdg_code import random_weights as noisy_clip
from torchvision import datasets

from sdg.data.emoji import CLDR, FONTS
from sdg.io.weights import save
from sdg.models.clip import CLIP
from sdg.models.registry import load_clip_noisy

ROOT = Path(__file__).resolve().parents[2]
STEP = [
    "trainer.max_steps=2",
    "+trainer.limit_val_batches=1",
    "logger=none",
    "module.preview=0",
    "data.batch_size=2",
    "data.num_workers=0",
]
LAYOUTS = {
    "ffhq": Net(32, (1, 1, 2, 2, 4, 4), 1, (4,), head_width=16),
    "lsun": Net(32, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5), head_width=16),
}


def of(script):
    return {
        file.stem
        for file in (ROOT / "conf" / "experiment").glob("*.yaml")
        if f"python {script}" in file.read_text().splitlines()[1]
    }


def test_every_experiment_says_whose_it_is_and_is_tried_here():
    names = {file.stem for file in (ROOT / "conf" / "experiment").glob("*.yaml")}
    assert of("sample.py") | of("train.py") == names
    assert of("sample.py") == {
        "brief",
        "fast",
        "fast_shapes",
        "score",
        "evaluate",
        "ddpm_celebahq_hub",
        *(f"paper_{what}" for what in ("ffhq", "lsun_bedroom", "lsun_cat", "lsun_horse")),
    }
    assert of("train.py") == {
        "calibrated",
        "contrastive",
        "ddpm_cifar10",
        "emoji64",
    }  # the first in test_training.py


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A noisy CLIP of the authors' layout, and the clean one that it was made from.

    Both are small and random.
    """
    folder = tmp_path_factory.mktemp("theirs")
    torch.save(noisy_clip(16, 24, 64, dict.fromkeys(DEPTHS, 1)), folder / "noisy.pt")
    torch.manual_seed(0)
    clean = CLIP(**load_clip_noisy(folder / "noisy.pt").config["clip"])
    save(folder / "clip.safetensors", "clip", clean, clean.config)
    return folder


PAPER = ("ffhq", "lsun_bedroom", "lsun_cat", "lsun_horse")
CONDITIONS = {
    "text": ("prompt=a red heart", "similarity = 160 · text, γ = 1"),
    "content": ("similarity.content.reference={}/a.png", "similarity = 100 · content, γ = 1"),
    "style": ("similarity.style.reference={}/a.png", "similarity = 2e+11 · style, γ = 1"),
}


def test_the_papers_experiments_differ_in_their_files_alone():
    settings = []
    for name in PAPER:
        file = ROOT / "conf" / "experiment" / f"paper_{name}.yaml"
        config = yaml.safe_load(file.read_text())
        assert config["defaults"] == ["base/paper"]
        assert config["denoiser"].pop("path").startswith(f"weights/paper/{name}")
        assert config["encoder"].pop("weights") == f"weights/paper/clip_{name}.pt"
        settings.append(config)
    assert settings == settings[:1] * len(PAPER)


# So one of them stands for all; each is tried once.
@pytest.mark.parametrize(
    "name, similarity",
    [
        ("ffhq", "text"),
        pytest.param("ffhq", "content", marks=pytest.mark.slow),
        pytest.param("ffhq", "style", marks=pytest.mark.slow),
        pytest.param("lsun_bedroom", "text", marks=pytest.mark.slow),
        pytest.param("lsun_cat", "content", marks=pytest.mark.slow),
        pytest.param("lsun_horse", "style", marks=pytest.mark.slow),
    ],
)
def test_the_papers_experiments_sample(run, theirs, tmp_path, capsys, name, similarity):
    condition, told = CONDITIONS[similarity]
    Image.new("RGB", (80, 80), "red").save(tmp_path / "a.png")
    torch.save(
        random_weights(LAYOUTS[name.partition("_")[0]], dtype=torch.float32), tmp_path / "adm.pt"
    )
    said = [
        "denoiser.resolution=64",
        "denoiser.schedule=linear",
        "denoiser.T=1000",
        "denoiser.qkv=heads_first",
        "denoiser.head_width=16",
    ]
    run(
        "sample.py",
        f"experiment=paper_{name}",
        f"similarity=[{similarity}]",
        condition.format(tmp_path),
        f"denoiser.path={tmp_path}/adm.pt",
        *said,
        f"encoder.weights={theirs}/noisy.pt",
        "encoder.name=null",
        "encoder.pretrained=null",
        f"encoder.clip={theirs}/clip.safetensors",
        "data.resolution=64",
        "sampler.steps=2",
        "num_samples=1",
        f"hydra.run.dir={tmp_path}/run",
    )
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert (
        told in capsys.readouterr().out
        and "gradient_at: x_t" in config
        and len(list((tmp_path / "run" / "images").iterdir())) == 1
    )


@pytest.mark.parametrize("name", ["brief", "score", "evaluate", "fast_shapes"])
@pytest.mark.slow
def test_settings_of_our_own_sample(run, tiny, tmp_path, name):
    run("sample.py", f"experiment={name}", *tiny, "num_samples=8")
    assert len(list((tmp_path / "run" / "images").iterdir())) == 8


def test_the_hubs_experiment_samples(run, tmp_path):
    network = UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(tmp_path / "model")
    run(
        "sample.py",
        "experiment=ddpm_celebahq_hub",
        f"denoiser.path={tmp_path}/model",
        "data.resolution=16",
        "sampler.steps=2",
        "num_samples=2",
        f"hydra.run.dir={tmp_path}/run",
    )
    assert len(list((tmp_path / "run" / "images").iterdir())) == 2


def test_cifar10s_experiment_trains(run, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    (tmp_path / "cifar-10-batches-py").mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]})
        )
    (tmp_path / "cifar-10-batches-py" / "batches.meta").write_bytes(
        pickle.dumps({"label_names": ["cat", "dog"]})
    )
    run(
        "train.py",
        "experiment=ddpm_cifar10",
        f"data.root={tmp_path}",
        *STEP,
        "denoiser.network.block_out_channels=[32,32,32,32]",
        f"hydra.run.dir={tmp_path}/run",
    )
    assert (tmp_path / "run" / "denoiser" / "README.md").is_file()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("emoji")


@pytest.mark.slow
@pytest.mark.skipif(
    not any(Path(font).is_file() for font in FONTS) or not Path(CLDR).is_dir(),
    reason="no colour-emoji font or no CLDR",
)
@pytest.mark.parametrize(
    "encoder, kind", [("none", "denoiser"), ("clip", "clip"), ("clip_noisy", "clip_noisy")]
)
def test_emojis_experiment_trains(run, tmp_path, weights, cache, encoder, kind):
    step = [
        *(option for option in STEP if encoder == "none" or "preview" not in option),
        *([f"encoder.clip={weights}/clip.safetensors"] if encoder == "clip_noisy" else []),
    ]
    run(
        "train.py",
        "experiment=emoji64",
        f"encoder={encoder}",
        *step,
        f"data.cache={cache}",
        f"hydra.run.dir={tmp_path}/run",
    )
    assert (tmp_path / "run" / kind / "README.md").is_file()
