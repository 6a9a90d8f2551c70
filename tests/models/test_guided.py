"""Classifier-free guidance and autoguidance from their settings, and beside diffusers' pipeline."""

from types import SimpleNamespace

import adm
import pytest
import torch
from adm import random_weights
from diffusers import DDIMScheduler, DiTPipeline
from dit import Net, forward, shapes
from foreign import denoiser_of, random_tensors
from torch import nn
from untrained import NETWORK

from sdg import Pipeline, guided_denoiser
from sdg.diffusion.samplers import DDIM
from sdg.diffusion.sampling import sample
from sdg.errors import UserError
from sdg.io.weights import save
from sdg.models.build import build_denoiser
from sdg.models.registry import load_denoiser, load_weaker

DIT = Net(8, 4, 8, 2, 32, 2, 4, 1000)  # diffusers' pipeline takes 1000 for no class


class Transformer(nn.Module):
    """The DiT that is written from the paper, as diffusers' pipeline calls it."""

    config = SimpleNamespace(sample_size=8, in_channels=4, out_channels=8)
    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self, tensors):
        super().__init__()
        self.tensors = tensors

    def forward(self, x, timestep, class_labels):
        return SimpleNamespace(sample=forward(DIT, self.tensors, x, timestep, class_labels))


class Decoder(nn.Module):
    """No autoencoder: latents are images. It keeps them, which the pipeline clamps."""

    config, device = SimpleNamespace(scaling_factor=1.0), torch.device("cpu")

    def decode(self, x):
        self.latents = x
        return SimpleNamespace(sample=x)


def test_a_dit_is_guided_as_by_diffusers_pipeline():
    tensors = random_tensors(shapes(DIT))
    scheduler = DDIMScheduler(1000, 1e-4, 0.02, clip_sample=False)
    theirs = DiTPipeline(Transformer(tensors), Decoder(), scheduler)
    theirs.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    theirs([207], 4.0, generator, num_inference_steps=4, output_type="pt")
    drawn = theirs.vae.latents
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    denoiser = denoiser_of(tensors, family="dit", heads=4)
    denoiser.label = 207
    sampler = DDIM(4, "leading")
    ours = sample(guided_denoiser(denoiser, guidance_scale=4.0), sampler, lambda *_: start)
    torch.testing.assert_close(ours, drawn, rtol=1e-5, atol=1e-5)
    plain = sample(denoiser, sampler, lambda *_: start)
    assert (plain - ours).abs().max() > 0.01


def unet(classes=4, side=16, width=16, kind="cosine"):
    network = NETWORK | {"block_out_channels": [width] * 2, "num_class_embeds": classes}
    return build_denoiser(
        {"prediction": "v", "network": network}, {"kind": kind, "T": 1000}, side
    ).eval()


@pytest.fixture
def denoiser():
    torch.manual_seed(0)
    conditional = unet()
    conditional.label = 1
    return conditional


def test_scale_1_and_no_setting_leave_the_denoiser(denoiser):
    assert guided_denoiser(denoiser) is denoiser
    assert guided_denoiser(denoiser, 1.0, (0.2, 0.8), 3) is denoiser
    weaker = unet(None, width=8)
    assert guided_denoiser(denoiser, autoguidance=weaker, autoguidance_scale=1) is denoiser


def test_a_class_is_moved_away_from_another(denoiser):
    x = torch.randn(2, 3, 16, 16)
    other = unet()
    other.load_state_dict(denoiser.state_dict())
    other.label = 3
    with torch.no_grad():
        found = guided_denoiser(denoiser, 2.5, negative_label=3)(x, 400).x0
        positive, negative = denoiser(x, 400).x0, other(x, 400).x0
    assert denoiser.label == 1
    torch.testing.assert_close(found, negative + 2.5 * (positive - negative))


WRONG = {
    "a scale of none": ({"guidance_scale": -1}, "^guidance_scale must be"),
    "nothing to move from": ({"guidance_scale": 2}, '^guidance_scale: .*label of "no class"'),
    "itself": ({"guidance_scale": 2, "negative_label": 1}, "^guidance_scale has no effect: .*same"),
    "no such class": ({"guidance_scale": 2, "negative_label": 4}, "^negative_label .* from 0 to 3"),
    "an interval alone": ({"guidance_interval": (0, 1)}, "^guidance_interval has no effect"),
    "a label alone": ({"negative_label": 3}, "^negative_label has no effect without"),
    "a scale alone": ({"autoguidance_scale": 2}, "^autoguidance_scale has no effect"),
    "an empty interval": (
        {"guidance_scale": 2, "negative_label": 3, "guidance_interval": (0.5, 0.5)},
        "^guidance_interval=.* is empty",
    ),
    "its interval alone": (
        {"autoguidance_interval": (0, 1)},
        "^autoguidance_interval has no effect without autoguidance",
    ),
    "no scale": ({"autoguidance": unet}, "^autoguidance needs autoguidance_scale"),
    "another side": (
        {"autoguidance": lambda: unet(side=32), "autoguidance_scale": 2},
        "^autoguidance: .*differ in resolution: 16 .* 32",
    ),
    "another process": (
        {"autoguidance": lambda: unet(kind="edm"), "autoguidance_scale": 2},
        "^autoguidance: .*different processes, cosine with T=1000 and edm",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_or_has_no_effect_is_refused(name, denoiser):
    options, said = WRONG[name]
    made = {key: value() if callable(value) else value for key, value in options.items()}
    with pytest.raises(UserError, match=said):
        guided_denoiser(denoiser, **made)


def test_an_unconditional_denoiser_has_no_class_to_be_guided_to():
    with pytest.raises(UserError, match="guidance_scale has no effect on a denoiser without a"):
        guided_denoiser(unet(None), 2.0)


def test_a_weaker_denoiser_has_the_same_classes_or_none(tmp_path):
    for name, classes in (("two", 2), ("none", None)):
        model = unet(classes)
        save(tmp_path / f"{name}.safetensors", "denoiser", model, model.config)
    assert load_weaker(tmp_path / "two.safetensors", 1, {}).label == 1
    assert load_weaker(tmp_path / "none.safetensors", 1, {"qkv": "heads_first"}).label is None
    for label, said in ((None, "label=null"), (3, "label=3")):
        with pytest.raises(UserError, match=f"autoguidance: .* has 2 classes, .*{said}"):
            load_weaker(tmp_path / "two.safetensors", label, {})


def test_what_is_said_of_a_foreign_file_holds_for_a_weaker_one_too(tmp_path):
    torch.save(random_weights(adm.Net(32, (1, 2), 1, (1,), head_width=16)), tmp_path / "adm.pt")
    said = {"schedule": "linear", "T": 100, "qkv": "heads_first", "head_width": 16}
    weaker = load_weaker(tmp_path / "adm.pt", None, said | {"resolution": 8})
    assert (weaker.resolution, weaker.schedule.config) == (8, {"kind": "linear", "T": 100})


def test_a_pipeline_draws_with_it_and_says_that_it_does_not_store_it(denoiser, tmp_path):
    pipe = Pipeline(guided_denoiser(denoiser, 3.0, negative_label=3), sampler=DDIM(2))
    plain = Pipeline(denoiser, sampler=DDIM(2))
    images = [each(num_samples=2, progress=False).images for each in (pipe, plain)]
    assert images[0][0].tobytes() != images[1][0].tobytes()
    with pytest.raises(UserError, match="does not hold classifier-free guidance"):
        pipe.save_pretrained(tmp_path)
    plain.save_pretrained(tmp_path)
    assert load_denoiser(tmp_path / "denoiser.safetensors", 1).label == 1
