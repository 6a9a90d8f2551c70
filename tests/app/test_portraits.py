"""`sample.py` and `train.py` on the portraits, with small untrained weights."""

import csv
import json

import pytest
import torch

from sdg.data.portrait_captions import WORDS, all_named
from sdg.data.portrait_factors import FACTORS, HELD_OUT_PAIRS
from sdg.io.weights import save
from sdg.models.build import build_denoiser
from sdg.models.clip import CLIP, tokens
from sdg.models.noise_aware import NoiseAwareEncoder

NETWORK = {
    "block_out_channels": [16, 16],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"] * 2,
    "up_block_types": ["UpBlock2D"] * 2,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}
VISION = {
    "timm_model_name": "resnet_tiny",
    "timm_pool": "avg",
    "timm_proj": "linear",
    "image_size": 64,
}
TEXT = {"context_length": 40, "vocab_size": tokens(WORDS), "width": 16, "heads": 2, "layers": 1}
SCHEDULE = {"kind": "cosine", "T": 1000}


@pytest.fixture(scope="module")
def portraits(tmp_path_factory) -> list[str]:
    """Overrides that make `sample.py data=portraits` quick."""
    folder = tmp_path_factory.mktemp("portraits")
    torch.manual_seed(0)
    denoiser = build_denoiser({"prediction": "x0", "patch": 4, "network": NETWORK}, SCHEDULE, 64)
    clip = CLIP({"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}, WORDS)
    noisy = NoiseAwareEncoder(clip.tower, clip.config, SCHEDULE, 32, 32, calibrated=True)
    for kind, model in (("denoiser", denoiser), ("clip", clip), ("clip_noisy", noisy)):
        save(folder / f"{kind}.safetensors", kind, model, model.config)
    return [
        "data=portraits",
        f"denoiser.weights={folder}/denoiser.safetensors",
        f"encoder.weights={folder}/clip_noisy.safetensors",
        f"encoder.clip={folder}/clip.safetensors",
        f"eval.clip={folder}/clip.safetensors",
        "sampler.steps=2",
        "num_samples=3",
    ]


def rows(folder) -> list[dict]:
    with open(folder / "samples.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_run_reads_every_attribute_and_renders_no_data(run, portraits, tmp_path):
    run("sample.py", *portraits, f"data.cache={tmp_path}/data", f"hydra.run.dir={tmp_path}/run")
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    table = rows(tmp_path / "run")
    assert 0 < figures["residual"] < 1 and 0 <= figures["shows"] <= figures["alignment"]["all"] <= 1
    assert not any(name.startswith(("frechet", "kernel")) and figures[name] for name in figures)
    for row in table:
        assert len(all_named(row["prompt"])) >= 4
        assert all(row[name] in ("", *values) for name, values in FACTORS.items())
    assert not (tmp_path / "data").exists()


def test_held_out_combinations_are_asked_for(run, portraits, tmp_path):
    run(
        "sample.py",
        *portraits,
        "data.split=combinations",
        "data.cache=null",
        f"hydra.run.dir={tmp_path}/run",
    )
    pairs = []
    for pair in HELD_OUT_PAIRS:
        pairs.append({name: {FACTORS[name].index(value)} for name, value in pair})
    for row in rows(tmp_path / "run"):
        assert any(pair.items() <= all_named(row["prompt"]).items() for pair in pairs), row[
            "prompt"
        ]


@pytest.mark.parametrize("encoder", ["none", "clip"])
def test_every_part_takes_a_step(run, tmp_path, encoder):
    small = {
        "none": ["denoiser.network.block_out_channels=[32,32,32]", "module.preview=0"],
        "clip": [],
    }
    run(
        "train.py",
        "data=portraits",
        f"encoder={encoder}",
        *small[encoder],
        "data.size=8",
        "data.held_out=4",
        "data.batch_size=4",
        "data.cache=null",
        "trainer.max_steps=1",
        "logger=none",
        f"hydra.run.dir={tmp_path}/run",
    )
    assert (tmp_path / "run" / {"none": "denoiser"}.get(encoder, encoder) / "config.json").is_file()


def test_words_that_the_data_never_uses_are_refused(refusal, portraits, tmp_path):
    message = refusal(
        "sample.py", *portraits, "prompt=a persn with a hat", f"hydra.run.dir={tmp_path}/run"
    )
    assert "persn" in message and "person" in message
