"""Training beside a denoiser that shifts and scales its latents in its own way, as EDM2's does."""

import edm2
import foreign
import pytest
import torch
from latent import autoencoder_kl, autoencoder_tiny, ldm
from omegaconf import OmegaConf
from safetensors.torch import save_file

from sdg import Pipeline, UserError, from_pretrained
from sdg.app.denoiser_choice import chosen_autoencoder
from sdg.app.latents import denoiser_to_tune, latents_beside
from sdg.models.autoencoder import Autoencoder
from sdg.models.registry import load_denoiser
from sdg.training.starting_encoder import starting_encoder

MEAN = torch.tensor([5.81, 3.25, 0.12, -2.15]).view(1, 4, 1, 1)
STD = torch.tensor([4.17, 4.62, 3.71, 3.28]).view(1, 4, 1, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An EDM2 of 16 × 16 latents in a file, and an autoencoder of theirs."""
    place = tmp_path_factory.mktemp("edm2")
    net = edm2.Net(16, 64, (1, 2), 1, (8,), image=4, classes=0)
    save_file(
        foreign.random_tensors(edm2.shapes(net), dtype=torch.float32), place / "edm2.safetensors"
    )
    autoencoder_kl().save_pretrained(place / "vae")
    return place


@pytest.fixture
def config(folder):
    own = {"path": f"{folder}/edm2.safetensors", "autoencoder": f"{folder}/vae"}
    return OmegaConf.create({"denoiser": own})


def encoder_beside(autoencoder, weights):
    clip = from_pretrained(weights / "clip.safetensors")
    schedule = {"kind": "edm", "T": 1000}
    options = {"width": 16, "hidden": 16, "calibrated": False, "estimate": False}
    return clip, starting_encoder(
        "clip", clip, None, 16, schedule, **options, autoencoder=autoencoder
    )


def test_training_sees_the_latents_that_sampling_draws(config):
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    denoiser = load_denoiser(config.denoiser.path)
    _, tuned = denoiser_to_tune(config, 32)
    beside = latents_beside(config.denoiser.autoencoder, denoiser, 32)
    chosen = chosen_autoencoder(config, denoiser)
    raw = autoencoder_kl().encode(x).latent_dist.mean
    for autoencoder in (tuned, beside, chosen):
        assert torch.allclose(autoencoder.encode(x), (raw - MEAN) / STD * 0.5, atol=1e-6)
    plain = latents_beside(config.denoiser.autoencoder, None, 32)
    assert torch.allclose(plain.encode(x), raw * 0.18215, atol=1e-6)


def test_an_encoder_of_the_same_autoencoders_own_scale_is_refused(config, weights):
    denoiser = load_denoiser(config.denoiser.path)
    autoencoder = from_pretrained(config.denoiser.autoencoder)
    clip, encoder = encoder_beside(autoencoder, weights)
    with pytest.raises(UserError, match=r"the encoder has learned .* scaled as this denoiser's"):
        Pipeline(denoiser, encoder, clip, autoencoder=autoencoder)
    clip, encoder = encoder_beside(
        latents_beside(config.denoiser.autoencoder, denoiser, 32), weights
    )
    Pipeline(denoiser, encoder, clip, autoencoder=autoencoder)


def test_a_digest_tells_the_scale_of_each_channel():
    vae = Autoencoder(autoencoder_kl())
    affine = [[0.5] * 4, [1.0, 2.0, 3.0, 4.0]]
    digests = [vae.latents_digest, vae.with_affine(affine).latents_digest]
    affine[1][3] = 5.0
    digests.append(vae.with_affine(affine).latents_digest)
    assert len(set(digests)) == 3
    assert Autoencoder(autoencoder_tiny()).with_affine(affine).latents_digest is None


def test_a_tuned_denoiser_and_its_autoencoder_go_together(config):
    model, autoencoder = denoiser_to_tune(config, 32)
    assert model.autoencoder_digest == autoencoder.latents_digest
    Pipeline(model, autoencoder=from_pretrained(config.denoiser.autoencoder))


def test_a_tiny_autoencoder_leaves_the_digest_that_is_known(tmp_path):
    ldm(autoencoder_kl()).save_pretrained(tmp_path / "ldm")
    autoencoder_tiny().save_pretrained(tmp_path / "tiny")
    own = {"path": f"{tmp_path}/ldm", "autoencoder": f"{tmp_path}/tiny"}
    model, autoencoder = denoiser_to_tune(OmegaConf.create({"denoiser": own}), 32)
    expected = Autoencoder(autoencoder_kl()).latents_digest
    assert autoencoder.latents_digest is None
    assert model.autoencoder_digest == expected
    assert model.config["denoiser"]["autoencoder_digest"] == expected


def test_a_folder_of_a_tiny_autoencoder_opens(tmp_path):
    network = autoencoder_tiny()
    network.save_pretrained(tmp_path)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.allclose(from_pretrained(tmp_path).encode(x), network.encode(x).latents, atol=1e-6)
