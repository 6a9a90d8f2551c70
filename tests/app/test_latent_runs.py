"""`sample.py` with a latent denoiser: what the library draws, and one line for what is missing."""

import csv
import json

import pytest
import torch
from latent import autoencoder_kl, ldm
from PIL import Image

from sdg import DDIM, DPS, Pipeline
from sdg.app.checkpoints import main
from sdg.data.image import to_uint8
from sdg.models.registry import load_clip

PROMPT = "a red heart"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A diffusers folder of a denoiser whose decoded pictures have 32 pixels a side."""
    place = tmp_path_factory.mktemp("ldm")
    ldm(autoencoder_kl()).save_pretrained(place)
    return place


@pytest.fixture
def words(folder, weights, tiny):
    own = ("denoiser.weights", "encoder.weights", "encoder.clip", "sampler.", "num_samples")
    kept = [word for word in tiny if not word.startswith(own)]
    return [
        *kept,
        *("denoiser=pretrained", f"denoiser.path={folder}", "sampler=ddim", "sampler.steps=3"),
        *("num_samples=3", f"prompt={PROMPT}", "batch_size=3"),
    ]


def guided(weights) -> list[str]:
    clean = f"encoder.clip={weights}/clip.safetensors"
    return ["encoder=clip", clean, "guidance=dps", "guidance.gamma=3", "guidance.interval=[0,1]"]


def test_a_latent_denoiser_draws_what_the_library_draws(run, words, weights, folder, tmp_path):
    run("sample.py", *words, *guided(weights), "trajectory=1", "unguided=true")
    place = tmp_path / "run"
    with open(place / "samples.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parts = Pipeline.from_pretrained(folder)
    pipe = Pipeline(
        parts.denoiser, load_clip(weights / "clip.safetensors"), autoencoder=parts.autoencoder
    )
    pipe.clip = pipe.encoder
    options = {"num_samples": 3, "sampler": DDIM(3), "progress": False, "batch_size": 3}
    drawn = pipe(PROMPT, guidance=DPS(gamma=3.0, interval=(0.0, 1.0)), **options)
    assert [int(row["seed"]) for row in rows] == drawn.seeds
    for row, image in zip(rows, to_uint8(drawn.tensors), strict=True):
        picture = torch.frombuffer(
            bytearray(Image.open(place / row["file"]).tobytes()), dtype=torch.uint8
        )
        assert torch.equal(picture.view(32, 32, 3), image.permute(1, 2, 0))
    unguided = to_uint8(pipe(gamma=0, **options).tensors)
    assert not torch.equal(unguided, to_uint8(drawn.tensors))
    assert len(list((place / "unguided" / "images").iterdir())) == 3
    assert (place / "trajectory.png").is_file()
    cost = json.loads((place / "metrics.json").read_text())["cost_per_sample"]
    # DPS decodes each estimate, and the pictures of each step of the trajectory are decoded too.
    assert cost["denoiser_forwards"] == 3 and cost["decoder_backwards"] == 2
    assert cost["decoder_forwards"] >= 3 and cost["flops"] > 0


def test_what_a_latent_denoiser_lacks_is_said_in_one_line(
    run, refusal, words, weights, folder, tmp_path
):
    noisy = [f"encoder.weights={weights}/clip_noisy.safetensors"]
    noisy.append(f"encoder.clip={weights}/clip.safetensors")
    message = refusal("sample.py", *words, *noisy)
    assert "reads noisy latents" in message and "DPS" in message
    main(["convert", str(folder), f"{tmp_path}/alone.safetensors"])
    alone = [*words, *guided(weights), f"denoiser.path={tmp_path}/alone.safetensors"]
    message = refusal("sample.py", *alone)
    assert "draws latents of 4 channels; set denoiser.autoencoder=FOLDER" in message
    run("sample.py", *alone, f"denoiser.autoencoder={folder}/vqvae")
    assert len(list((tmp_path / "run" / "images").iterdir())) == 3


def test_an_autoencoder_is_refused_beside_a_denoiser_of_images(refusal, tiny, weights, folder):
    kept = [word for word in tiny if not word.startswith("denoiser.")]
    message = refusal(
        "sample.py",
        *kept,
        *("denoiser=pretrained", f"denoiser.path={weights}/denoiser.safetensors"),
        f"denoiser.autoencoder={folder}/vqvae",
    )
    assert "draws images of its own" in message
