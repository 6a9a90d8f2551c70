"""The shipped weights do what docs/results.md says of them."""

import json
from pathlib import Path

import pytest
import torch

from sdg.data.shapes import Shapes
from sdg.diffusion.schedule import Schedule
from sdg.metrics.retrieval import retrieval_top1
from sdg.models.registry import load_clip, load_clip_noisy, load_judge

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
FACTORS = ("shape", "colour", "pattern", "background")


@pytest.mark.parametrize(
    ("data", "parts", "bytes_at_most"),
    [
        ("shapes", {"denoiser", "clip", "clip_noisy", "judge"}, 25e6),
        ("portraits", {"denoiser", "clip", "clip_noisy"}, 45 * 2**20),
    ],
)
def test_weights_are_small_and_each_has_a_card(data, parts, bytes_at_most):
    files = sorted((WEIGHTS / data).glob("*.safetensors"))
    assert {file.stem for file in files} == parts
    assert sum(file.stat().st_size for file in files) <= bytes_at_most
    for file in files:
        card = file.with_suffix(".md").read_text()
        assert all(word in card for word in ("command:", "hardware:", "val/", "seed:")), file.stem


@pytest.mark.slow
@torch.no_grad()
def test_noise_aware_encoder_finds_the_image_behind_the_noise():
    clip, noisy = (
        load_clip(WEIGHTS / "shapes" / "clip.safetensors"),
        load_clip_noisy(WEIGHTS / "shapes" / "clip_noisy.safetensors"),
    )
    schedule, x0 = (
        Schedule(**noisy.config["schedule"]),
        Shapes(500, seed=1).__getitems__(list(range(500)))["image"],
    )
    keys, noise = (
        clip.encode_image(x0),
        torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)),
    )

    def top1(encoder, level):
        t = torch.full((500,), level)
        return retrieval_top1(encoder.encode_image(schedule.q_sample(x0, t, noise), t), keys)

    assert top1(noisy, 400) >= 0.92 and top1(noisy, 800) >= 0.35
    assert top1(clip, 600) < 0.3 and top1(clip, 800) < 0.05


@pytest.mark.slow
@torch.no_grad()
def test_judge_sees_where_the_object_is():
    data = Shapes(500, seed=1, masks=True)
    found, truth = (
        load_judge(WEIGHTS / "shapes" / "judge.safetensors")(
            data.__getitems__(list(range(500)))["image"]
        ).mask
        > 0,
        torch.from_numpy(data.masks),
    )
    assert ((found & truth).sum((1, 2)) / (found | truth).sum((1, 2))).mean() >= 0.95


@pytest.mark.slow
def test_guidance_at_the_default_settings(run, tmp_path):
    run("sample.py", "experiment=evaluate", f"hydra.run.dir={tmp_path}/run")
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found["num_samples"] == 512 and found["num_prompts"] == 64
    assert all(found["alignment_judge"][factor] >= 0.80 for factor in FACTORS), found[
        "alignment_judge"
    ]
    assert found["alignment_judge"]["all"] >= 0.60


@pytest.mark.slow
def test_portraits_at_the_default_settings(run, tmp_path):
    sizes = ["num_samples=64", "samples_per_prompt=1"]
    run("sample.py", "data=portraits", *sizes, f"hydra.run.dir={tmp_path}/run")
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures["shows"] >= 0.80
    assert figures["residual"] <= 0.03


@pytest.mark.slow
def test_portraits_in_few_steps(run, tmp_path):
    sizes = ["num_samples=64", "samples_per_prompt=1"]
    run("sample.py", "data=portraits", "experiment=fast", *sizes, f"hydra.run.dir={tmp_path}/run")
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures["shows"] >= 0.70
    assert figures["residual"] <= 0.03
    cost = figures["cost_per_sample"]
    assert (cost["denoiser_forwards"], cost["encoder_forwards"]) == (15, 11)


@pytest.mark.slow
def test_guidance_in_its_score_form(run, tmp_path):
    run("sample.py", "experiment=[evaluate,score]", f"hydra.run.dir={tmp_path}/run")
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (
        found["alignment_judge"]["all"] >= 0.75
        and found["alignment_judge"]["background"] >= 0.95
        and found["cost_per_sample"]["denoiser_forwards"] == 50
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factor", "settings"),
    [
        ("shape", ["experiment=brief"]),
        ("pattern", ["experiment=brief"]),
        ("colour", []),
        ("background", []),
    ],
)
def test_prompts_that_name_one_factor(run, tmp_path, factor, settings):
    run(
        "sample.py",
        *settings,
        f"named=[{factor}]",
        "num_samples=128",
        f"hydra.run.dir={tmp_path}/run",
    )
    assert (
        json.loads((tmp_path / "run" / "metrics.json").read_text())["alignment_judge"][factor]
        >= 0.90
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings", "least"),
    [
        (
            "content",
            ["similarity.content.noised=false", "guidance.gamma=100"],
            {"shape": 0.75, "colour": 0.90},
        ),
        ("structure", ["experiment=score"], {"shape": 0.75}),
        (
            "style",
            [
                "experiment=score",
                "similarity.style.weight=1",
                "similarity.style.stages=[layer1]",
                "similarity.style.statistics=energies",
            ],
            {"colour": 0.90, "pattern": 0.70},
        ),
    ],
)
def test_references(run, tmp_path, kind, settings, least):
    run(
        "sample.py",
        f"similarity=[{kind}]",
        *settings,
        "num_samples=128",
        "samples_per_prompt=4",
        f"hydra.run.dir={tmp_path}/run",
    )
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert all(found["agreement"][kind][factor] >= share for factor, share in least.items()), found[
        "agreement"
    ]
    assert (
        kind != "structure" or found["mask_iou"][kind] >= 0.6 > 2 * found["mask_iou_random"][kind]
    )
