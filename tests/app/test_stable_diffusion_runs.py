"""`sample.py` with a Stable Diffusion: guided on top of its prompt; wrong input in one line."""

import csv
import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

pytest.importorskip("transformers")

from conftest import ROOT  # noqa: E402
from stable_diffusion import SIDE, saved, stable_diffusion  # noqa: E402

from sdg import DDIM, DPS, Pipeline  # noqa: E402
from sdg.app.checkpoints import main  # noqa: E402
from sdg.data.image import to_uint8  # noqa: E402
from sdg.models.registry import load_clip  # noqa: E402

RED = "denoiser.prompt=a red barn"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("sd")
    return saved(stable_diffusion(place), place / "folder")


@pytest.fixture
def picture(tmp_path):
    file = tmp_path / "blue.png"
    Image.new("RGB", (2 * SIDE, 2 * SIDE), (20, 60, 200)).save(file)
    return file


@pytest.fixture
def words(folder, weights, tiny):
    own = ("denoiser.weights", "encoder.weights", "encoder.clip", "sampler.", "num_samples")
    kept = [word for word in tiny if not word.startswith(own)]
    return [
        *kept,
        *("denoiser=pretrained", f"denoiser.path={folder}", "sampler=ddim", "sampler.steps=3"),
        *("num_samples=2", "batch_size=2", "guidance.gamma=3", "guidance.interval=[0,1]"),
        *("encoder=clip", f"encoder.clip={weights}/clip.safetensors", "guidance=dps"),
    ]


def drawn_images(place):
    with open(place / "samples.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    images = [Image.open(place / row["file"]) for row in rows]
    return [torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8) for image in images]


def test_content_and_style_stand_on_top_of_the_prompt(
    run, words, folder, weights, picture, tmp_path
):
    scale = "denoiser.guidance_scale=5"
    asked = [
        "similarity=[content,style]",
        f"similarity.content.reference={picture}",
        f"similarity.style.reference={picture}",
    ]
    run("sample.py", *words, RED, scale, "denoiser.negative_prompt=bad", *asked)
    clip = load_clip(weights / "clip.safetensors")
    parts = Pipeline.from_pretrained(
        folder, prompt="a red barn", negative_prompt="bad", guidance_scale=5.0
    )
    pipe = Pipeline(parts.denoiser, clip, clip, autoencoder=parts.autoencoder)
    expected = pipe(
        content=picture,
        style=picture,
        guidance=DPS(3.0, interval=(0.0, 1.0)),
        sampler=DDIM(3),
        num_samples=2,
        batch_size=2,
        progress=False,
    )
    for mine, image in zip(drawn_images(tmp_path / "run"), to_uint8(expected.tensors), strict=True):
        assert torch.equal(mine, image.permute(1, 2, 0).flatten())
    cost = json.loads((tmp_path / "run" / "metrics.json").read_text())["cost_per_sample"]
    assert cost["denoiser_forwards"] == 6 and cost["decoder_backwards"] == 2


def test_a_weaker_model_is_conditioned_on_the_same_prompt(run, words, folder, tmp_path):
    weaker = [f"denoiser.autoguidance={folder}", "denoiser.autoguidance_scale=2"]
    run("sample.py", *words, RED, *weaker, "guidance.gamma=0", "prompt=a red heart")
    cost = json.loads((tmp_path / "run" / "metrics.json").read_text())["cost_per_sample"]
    assert (cost["denoiser_forwards"], cost["autoguidance_forwards"]) == (3, 3)


@pytest.mark.slow
def test_another_prompt_is_another_run_and_the_same_one_goes_on(run, words, tmp_path, capsys):
    free = [word for word in words if not word.startswith("hydra.run.dir")]
    free += [f"hydra.run.dir={tmp_path}/${{run_name:}}", "guidance.gamma=0", "prompt=a red heart"]
    run("sample.py", *free, RED)
    run("sample.py", *free, "denoiser.prompt=blue")
    assert len(list(tmp_path.glob("*/metrics.json"))) == 2
    capsys.readouterr()
    run("sample.py", *free, RED)
    assert "drawn already" in capsys.readouterr().out
    one, other = (drawn_images(place.parent) for place in tmp_path.glob("*/metrics.json"))
    assert not torch.equal(one[0], other[0])


def test_samples_of_one_prompt_do_not_pass_for_those_of_another(run, refusal, words):
    quiet = [*words, "guidance.gamma=0", "prompt=a red heart"]
    run("sample.py", *quiet, RED)
    assert "another" in refusal("sample.py", *quiet, "denoiser.prompt=blue")


REFUSED = {
    (): "draws what a sentence says: set denoiser.prompt to a sentence",
    (RED, "denoiser.label=3"): "denoiser.label=3: ",
    (RED, "denoiser.negative_prompt=bad"): "denoiser.negative_prompt has no effect without",
    (RED, "denoiser.heads=2"): "holds all settings; leave out heads",
    (RED, "denoiser.guidance_scale=2", "denoiser.negative_label=1"): "denoiser.negative_label is a",
    (RED, "guidance=sdg"): "reads noisy latents",
}


@pytest.mark.parametrize("given", REFUSED)
def test_wrong_input_is_answered_in_one_line(refusal, words, given):
    message = refusal("sample.py", *words, "prompt=a red heart", *given)
    assert REFUSED[given] in message


def test_a_prompt_for_a_model_without_text_is_refused(refusal, words, weights):
    path = f"denoiser.path={weights}/denoiser.safetensors"
    assert "denoiser.prompt: " in refusal("sample.py", *words, path, RED)


def test_a_converted_file_says_that_it_holds_its_prompt(refusal, words, folder, tmp_path):
    file = tmp_path / "one.safetensors"
    main(["convert", str(folder), str(file), "prompt=a house"])
    kept = [word for word in words if not word.startswith("denoiser.path")]
    message = refusal("sample.py", *kept, f"denoiser.path={file}", RED)
    assert f"denoiser.prompt: {file} holds its prompt, which was embedded when" in message


@pytest.mark.parametrize(
    "needed", ["module.score_weight=1", "module.on_policy_share=0.5", "module.tower=denoiser"]
)
@pytest.mark.parametrize("converted", [False, True])
def test_no_encoder_is_trained_beside_one(refusal, folder, weights, tmp_path, needed, converted):
    place = folder
    if converted:
        place = tmp_path / "one.safetensors"
        main(["convert", str(folder), str(place), "prompt=a house"])
    clip = f"encoder.clip={weights}/clip.safetensors"
    words = ("train.py", "encoder=clip_noisy", clip, f"module.denoiser={place}", needed)
    message = refusal(*words, "data.captions=true")
    assert f"module.denoiser={place} is a Stable Diffusion, beside which" in message


def test_a_training_of_text_latents_is_refused(refusal, folder):
    words = ("train.py", "denoiser=pretrained", f"denoiser.path={folder}")
    whose = "is a Stable Diffusion, whose network of sentences is not trained here"
    assert whose in refusal(*words)
    assert "denoiser.prompt has no effect on a training" in refusal(*words, RED)


@pytest.mark.slow
def test_a_run_in_a_process_of_its_own_imports_transformers_for_the_prompt_alone(
    words, folder, tmp_path
):
    """diffusers is imported as if transformers were not there, and the prompt is read with it."""
    own = [*words, RED, "data=shapes", "guidance.gamma=0", "prompt=a red heart"]
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"sys.argv = ['sample.py', *{own!r}]\n"
        "import sample\n"
        "sample.main()\n"
        "from diffusers.utils import is_transformers_available\n"
        "print('seen', is_transformers_available(), 'transformers' in sys.modules)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SDG_QUICK_START": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "seen False True"
