"""sample.py with classifier-free guidance and autoguidance, and semantic guidance on top."""

import json

import pytest
import torch
from untrained import NETWORK

from sdg.io.weights import save
from sdg.models.build import build_denoiser


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of a class-conditional denoiser of four classes, and of a weaker one."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, width in (("good", 16), ("weak", 8)):
        network = NETWORK | {"block_out_channels": [width] * 2, "num_class_embeds": 4}
        model = build_denoiser(
            {"prediction": "v", "patch": 2, "network": network}, {"kind": "cosine", "T": 1000}, 32
        )
        save(folder / f"{name}.safetensors", "denoiser", model, model.config)
    return folder


@pytest.fixture
def base(quick, models):
    return [
        *quick,
        "data=shapes",
        f"denoiser.weights={models}/good.safetensors",
        "denoiser.label=1",
        "num_samples=2",
    ]


@pytest.mark.slow
def test_samples_are_drawn_with_both_and_each_pass_is_counted(run, base, models, tmp_path):
    both = [
        "denoiser.guidance_scale=3",
        "denoiser.negative_label=3",
        "denoiser.guidance_interval=[0.2,0.9]",
        f"denoiser.autoguidance={models}/weak.safetensors",
        "denoiser.autoguidance_scale=2",
    ]
    off = [*both[1:3], "denoiser.guidance_scale=1"]
    images, costs = [], []
    for i, words in enumerate((both, off, [], [*both, "guidance.gamma=0"])):
        folder = tmp_path / str(i)
        run("sample.py", *base, "guidance.gamma=5", *words, f"hydra.run.dir={folder}")
        images.append((folder / "images" / "00000.png").read_bytes())
        costs.append(json.loads((folder / "metrics.json").read_text())["cost_per_sample"])
    assert images[1] == images[2]  # scale 1 changes no byte
    assert len(set(images)) == 3
    # Of the levels 999, 500 and 0 one is in the interval; the weaker one is asked at all.
    assert [cost["denoiser_forwards"] for cost in costs] == [4, 3, 3, 4]
    assert [cost.get("autoguidance_forwards") for cost in costs] == [3, None, None, 3]
    assert costs[0]["encoder_backwards"] == 2
    assert costs[0]["flops"] > costs[2]["flops"] * 1.1


REFUSED = {
    "denoiser.guidance_scale=2": "denoiser.guidance_scale: this network does not tell",
    "denoiser.guidance_interval=[0,0.5]": "denoiser.guidance_interval has no effect without",
    "denoiser.label=7": "denoiser.label must be an integer from 0 to 3, not 7",
    "denoiser.autoguidance_scale=2": "denoiser.autoguidance_scale has no effect without",
    "denoiser.guidance_scale=-1": "denoiser.guidance_scale must be",
}


@pytest.mark.parametrize("word", REFUSED)
def test_a_setting_without_effect_is_refused_in_one_line(refusal, base, tmp_path, word):
    line = refusal("sample.py", *base, word, f"hydra.run.dir={tmp_path}/run")
    assert REFUSED[word] in line


def test_a_class_or_a_scale_of_a_denoiser_without_classes_is_refused(refusal, tiny):
    assert "unconditional denoiser" in refusal("sample.py", *tiny, "denoiser.label=1")
    line = refusal("sample.py", *tiny, "denoiser.guidance_scale=2")
    assert "denoiser.guidance_scale has no effect on a denoiser without a class" in line


@pytest.mark.parametrize(
    "script, word, reader",
    [("train.py", "denoiser=pretrained", "a training"), ("sample.py", "eval=encoder", "eval=enc")],
)
def test_what_draws_no_samples_refuses_them(refusal, script, word, reader):
    line = refusal(script, word, "denoiser.guidance_scale=2")
    assert f"denoiser.guidance_scale has no effect on {reader}" in line
