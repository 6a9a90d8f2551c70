"""Latent models: their folders, their samples, and guidance on both sides of the decoder."""

import edm2
import foreign
import pytest
import torch
from diffusers import DiTPipeline
from diffusers.pipelines.deprecated.latent_diffusion_uncond import (
    pipeline_latent_diffusion_uncond as ldm_module,
)
from latent import (
    BETAS,
    SIDE,
    autoencoder_kl,
    autoencoder_tiny,
    ldm,
    scheduler,
    transformer,
    unet,
    vq_model,
)
from untrained import CLIP_MODEL, NETWORK, save_parts

from sdg import (
    DDIM,
    DPS,
    MPGD,
    Denoiser,
    Pipeline,
    Schedule,
    UserError,
    from_pretrained,
    guided_denoiser,
)
from sdg.diffusion.noise import Noise
from sdg.diffusion.sampling import sample
from sdg.models.autoencoder import Autoencoder
from sdg.models.clip import CLIP
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.registry import load_denoiser
from sdg.models.unet import UNetEncoder

WORDS = ("a", "red", "circle")
PROCESS = {"kind": "scaled_linear", "T": 1000, "betas": [0.0015, 0.0195]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("ldm")
    ldm(autoencoder_kl(shift_factor=0.1)).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def pipe(folder):
    return Pipeline.from_pretrained(folder)


def clip(side=32):
    torch.manual_seed(4)
    vision = CLIP_MODEL["vision_cfg"] | {"image_size": side}
    return CLIP(CLIP_MODEL | {"vision_cfg": vision}, WORDS).requires_grad_(False)


def latent_encoder(channels=4, network=NETWORK):
    """An untrained one that reads noisy latents."""
    own = clip(SIDE).config
    torch.manual_seed(5)
    return UNetEncoder(own, PROCESS, network, latent_channels=channels).requires_grad_(False)


@pytest.mark.parametrize(
    ("network", "channels"),
    [(autoencoder_kl(shift_factor=0.1), 4), (autoencoder_tiny(), 4), (vq_model(), 3)],
    ids=["kl", "tiny", "vq"],
)
def test_an_autoencoder_is_scaled_and_shifted_as_its_config_says(network, channels):
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours, encoded = Autoencoder(network), network.encode(x)
    raw = encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latents
    scale, shift = network.config.scaling_factor, network.config.get("shift_factor") or 0
    z = ours.encode(x)
    assert (ours.channels, ours.factor) == (channels, 2) and z.shape == (2, channels, 16, 16)
    assert torch.allclose(z, (raw - shift) * scale, atol=1e-6)
    assert torch.allclose(ours.decode(z), network.decode(raw).sample, atol=1e-5)


MAKERS = {"kl": lambda: autoencoder_kl(shift_factor=0.1), "tiny": autoencoder_tiny, "vq": vq_model}


@pytest.mark.parametrize("name", MAKERS)
def test_an_autoencoder_lies_where_its_network_does(name):
    ours = Autoencoder(MAKERS[name]().to("meta"))
    assert ours.shift.device.type == ours.scale.device.type == "meta"
    affine = [[0.0] * ours.channels, [1.0] * ours.channels]
    assert ours.with_affine(affine).scale.device.type == "meta"


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_precision_takes_and_gives_float32(name, dtype):
    """As `pipe.vae` of a pipeline that was loaded with torch_dtype=torch.float16."""
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole, ours = Autoencoder(MAKERS[name]()), Autoencoder(MAKERS[name]().to(dtype))
    z = whole.encode(x)
    assert ours.encode(x).dtype == ours.decode(z).dtype == torch.float32
    # A rounded latent of a VQModel may have another code next to it.
    tolerance = 60 * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    assert (ours.encode(x) - z).abs().max() < tolerance * z.abs().max()
    if name != "vq":
        assert (ours.decode(z) - whole.decode(z)).abs().max() < tolerance


def test_a_vq_model_has_the_channels_of_its_codebook():
    network = vq_model(channels=3, vq_embed_dim=5)
    ours, x = Autoencoder(network), torch.rand(1, 3, 32, 32)
    z = ours.encode(x)
    assert ours.channels == 5 and z.shape == (1, 5, 16, 16)
    denoiser = Denoiser(unet(5), Schedule(**PROCESS), resolution=SIDE, channels=5)
    drawn = Pipeline(denoiser, autoencoder=ours)(steps=2, progress=False)
    assert drawn.tensors.shape == (1, 3, 32, 32)
    with pytest.raises(UserError, match="of 3 channels, the autoencoder has 5"):
        of_three = Denoiser(unet(3), Schedule(**PROCESS), resolution=SIDE, latents=True)
        Pipeline(of_three, autoencoder=ours)


def test_latents_that_a_denoiser_has_normalised_by_channel_are_so_beside_its_autoencoder(tmp_path):
    """EDM2's at 512 pixels: (E(x) − mean) · 0.5/std of each channel, and back before D."""
    net = edm2.Net(16, 64, (1, 2), 1, (8,), image=4, classes=0)
    tensors = foreign.random_tensors(edm2.shapes(net), dtype=torch.float32)
    denoiser, vae = foreign.denoiser_of(tensors).float(), Autoencoder(autoencoder_kl())
    pipe = Pipeline(denoiser, autoencoder=vae)
    x = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    raw = vae.network.encode(x[None]).latent_dist.mean
    mean = torch.tensor([5.81, 3.25, 0.12, -2.15]).view(1, 4, 1, 1)
    std = torch.tensor([4.17, 4.62, 3.71, 3.28]).view(1, 4, 1, 1)
    z = pipe.latents(x)[None]
    assert torch.allclose(z, (raw - mean) / std * 0.5, atol=1e-6)
    assert torch.allclose(pipe.pictures(z), vae.network.decode(raw).sample.clamp(-1, 1), atol=1e-5)
    pipe.save_pretrained(tmp_path / "stored")
    again = Pipeline.from_pretrained(tmp_path / "stored")
    assert torch.allclose(again.latents(x)[None], z, atol=1e-6)
    plain = Denoiser(denoiser.network, denoiser.schedule, "edm", resolution=16, channels=4)
    with pytest.raises(UserError, match="differ in latent_affine"):
        guided_denoiser(denoiser, autoguidance=plain, autoguidance_scale=2.0)
    with pytest.raises(UserError, match="latents of 2 channels, the autoencoder has 4"):
        vae.with_affine([[0.0] * 2, [1.0] * 2])


@pytest.mark.parametrize(("vae", "channels"), [(autoencoder_kl(), 4), (vq_model(), 3)])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_ddim_is_that_of_diffusers_own_pipeline(tmp_path, monkeypatch, vae, channels, prediction):
    theirs, steps = ldm(vae, channels, prediction_type=prediction), []
    theirs.set_progress_bar_config(disable=True)
    theirs.save_pretrained(tmp_path)
    ours, sampler, kept = Pipeline.from_pretrained(tmp_path), DDIM(10, spacing="leading"), []
    drawn = ours(sampler=sampler, progress=False)
    sample(
        *(ours.denoiser, sampler, Noise(drawn.seeds, ours.sampled_shape)),
        on_step=lambda done, step: kept.append(step),
    )
    noise = Noise(drawn.seeds, (channels, SIDE, SIDE))()
    monkeypatch.setattr(ldm_module, "randn_tensor", lambda *_, **__: noise)
    step = theirs.scheduler.step

    def recorded(*arguments, **options):
        steps.append(step(*arguments, **options))
        return steps[-1]

    monkeypatch.setattr(theirs.scheduler, "step", recorded)
    image = theirs(num_inference_steps=10, output_type="np").images[0]
    assert ours.denoiser.schedule.config == PROCESS and ours.shape == (3, 2 * SIDE, 2 * SIDE)
    assert len(steps) == len(kept) == 10
    for mine, other in zip(kept, steps, strict=True):
        for z, theirs_z in ((mine.x, other.prev_sample), (mine.x0, other.pred_original_sample)):
            assert (z - theirs_z).abs().max() < 1e-5 * theirs_z.abs().max()
    # DDIM's last step gives x̂_0 itself, whose picture is the pipeline's.
    assert torch.allclose(
        drawn.tensors[0].permute(1, 2, 0) / 2 + 0.5, torch.tensor(image), atol=1e-5
    )


def test_latents_are_not_clamped_and_pictures_are(pipe):
    far = torch.full((1, 4, SIDE, SIDE), 50.0)
    assert pipe.pictures(far).abs().max() <= 1
    images = pipe(steps=3, num_samples=2, progress=False).tensors
    assert images.shape == (2, 3, 32, 32) and images.abs().max() <= 1


def test_a_dit_folder_says_what_diffusers_says(tmp_path):
    network, vae = transformer().double(), autoencoder_kl()
    options = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
    labels = {0: "cat", 1: "dog"}
    DiTPipeline(transformer(), vae, scheduler(**options), labels).save_pretrained(tmp_path)
    z = torch.randn(
        2, 4, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    for label in (1, 5):  # the last one is no class
        denoiser = load_denoiser(tmp_path, label=label).double()
        with torch.no_grad():
            ours = denoiser(z, 300)
            theirs = network(z, torch.tensor([300, 300]), torch.tensor([label, label])).sample
        a = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[300]
        x0 = (z - (1 - a).sqrt() * theirs[:, :4]) / a.sqrt()
        assert (ours.x0 - x0).abs().max() < 1e-10
        assert (ours.variance_weight - theirs[:, 4:]).abs().max() < 1e-10
    whole = Pipeline.from_pretrained(tmp_path, label=1)
    assert whole.denoiser.label == 1 and whole.autoencoder.channels == 4
    assert whole(steps=2, progress=False).tensors.shape == (1, 3, 32, 32)
    with pytest.raises(UserError, match="label must be"):
        Pipeline.from_pretrained(tmp_path)


def brightness(x, level):
    return -(x - 0.5).square().flatten(1).sum(1)


@pytest.mark.parametrize("guidance", [DPS(2.0), MPGD(20.0)], ids=["dps", "mpgd"])
def test_guidance_of_the_estimate_passes_through_the_decoder(pipe, guidance):
    """Two steps of DDIM, the first one guided, written out with autograd."""
    sampler, schedule = DDIM(2), pipe.denoiser.schedule
    drawn = pipe(similarity=brightness, guidance=guidance, sampler=sampler, seed=3, progress=False)
    network, vae = pipe.denoiser.network, pipe.autoencoder.network
    scale, shift = vae.config.scaling_factor, vae.config.shift_factor
    a = schedule.alpha_bar(999).float()
    seed = drawn.seeds[0]
    z = Noise([seed], (4, SIDE, SIDE))().requires_grad_()

    def estimate(z, t, a):
        return (z - (1 - a).sqrt() * network(z, t).sample) / a.sqrt()

    z0 = estimate(z, 999, a)
    at = z0.detach().requires_grad_() if guidance.mu else z
    picture = vae.decode((at if guidance.mu else z0) / scale + shift).sample
    (g,) = torch.autograd.grad(brightness(picture, -1).sum(), at)
    z, z0 = z.detach(), z0.detach()
    if guidance.mu:  # x̂_0 moves, ε̂ stays
        noise = (z - a.sqrt() * z0) / (1 - a).sqrt()
        z0 = z0 + guidance.gamma * (1 - a) * g
    else:
        z0 = z0 + (1 - a) / a.sqrt() * guidance.gamma * g
        noise = (z - a.sqrt() * z0) / (1 - a).sqrt()
    low = schedule.alpha_bar(0).float()
    with torch.no_grad():
        z0 = estimate(low.sqrt() * z0 + (1 - low).sqrt() * noise, 0, low)
        expected = vae.decode(z0 / scale + shift).sample.clamp(-1, 1)
    unguided = pipe(sampler=sampler, seed=3, progress=False).tensors
    assert (drawn.tensors - expected).abs().max() < 1e-4
    assert (drawn.tensors - unguided).abs().max() > 1e-3


def test_a_clean_clip_of_images_guides_by_words_and_pictures(pipe, folder):
    own = clip()
    guided = Pipeline(pipe.denoiser, own, own, autoencoder=pipe.autoencoder)
    picture = torch.zeros(3, 32, 32)
    call = {"content": picture, "sampler": DDIM(3), "progress": False}
    weak, strong = (guided("a red circle", guidance=DPS(g), **call) for g in (1e-6, 1e-3))
    assert strong.tensors.isfinite().all() and not torch.equal(weak.tensors, strong.tensors)
    with pytest.raises(
        UserError, match=r"SemanticGuidance reads noisy latents.*DPS or MPGD.*noise-"
    ):
        guided("a red circle", progress=False)


def test_an_encoder_of_noisy_latents_guides_without_the_decoder(pipe, tmp_path, monkeypatch):
    encoder, words = latent_encoder(), clip()
    whole = Pipeline(pipe.denoiser, encoder, words, autoencoder=pipe.autoencoder)
    decoded = []
    decode = Autoencoder.decode
    monkeypatch.setattr(
        Autoencoder, "decode", lambda self, z: decoded.append(z.requires_grad) or decode(self, z)
    )
    picture = torch.linspace(-1, 1, 32).expand(3, 32, 32)
    call = {"content": picture, "steps": 3, "progress": False}
    drawn = whole("a red circle", gamma=50.0, **call)
    assert decoded == [False]  # once, for the pictures
    assert not torch.equal(drawn.tensors, whole(steps=3, progress=False).tensors)
    whole.save_pretrained(tmp_path / "stored")
    again = Pipeline.from_pretrained(tmp_path / "stored")
    assert torch.allclose(
        again("a red circle", gamma=50.0, **call).tensors, drawn.tensors, atol=1e-5
    )
    assert from_pretrained(tmp_path / "stored" / "autoencoder.safetensors").channels == 4


def test_a_clips_tower_reads_latents_with_a_new_first_convolution():
    clean = clip(SIDE)
    encoder = NoiseAwareEncoder(
        clean.towers.visual, clean.config, PROCESS, 32, 32, latent_channels=4
    )
    z = torch.randn(2, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    embeddings = encoder.encode_image(z, torch.tensor([3, 500]))
    assert embeddings.shape == (2, 16) and encoder.latent_channels == 4
    kept = dict(clean.towers.visual.named_parameters())
    changed = [
        name
        for name, value in encoder.tower.named_parameters()
        if name in kept and value.shape != kept[name].shape
    ]
    assert len(changed) == 1 and "conv" in changed[0]


def test_an_encoder_from_a_latent_denoiser_reads_its_latents(pipe):
    own = clip(SIDE).config
    encoder = UNetEncoder.from_denoiser(pipe.denoiser, own, schedule=PROCESS)
    assert encoder.latent_channels == 4
    assert torch.equal(encoder.tower.conv_in.weight, pipe.denoiser.network.conv_in.weight)


def test_a_picture_to_start_from_goes_through_the_encoder(pipe):
    picture = torch.linspace(-1, 1, 32).expand(3, 32, 32)
    drawn = pipe(init_image=picture, strength=0.5, sampler=DDIM(2), seed=1, progress=False)
    z = pipe.autoencoder.encode(picture[None])
    noise = Noise(drawn.seeds, (4, SIDE, SIDE))()
    a = pipe.denoiser.schedule.alpha_bar(0).float()
    with torch.no_grad():
        start = a.sqrt() * z + (1 - a).sqrt() * noise
        expected = pipe.pictures(pipe.denoiser(start, 0).x0)
    assert torch.allclose(drawn.tensors, expected, atol=1e-5)


def test_parts_that_do_not_belong_together_are_refused_in_a_line(pipe, tmp_path):
    save_parts(tmp_path)
    latent, vae = pipe.denoiser, pipe.autoencoder
    pixels = from_pretrained(tmp_path / "denoiser.safetensors")
    of_three = Denoiser(unet(3), Schedule(**PROCESS), resolution=SIDE, latents=True)
    for message, arguments in (
        ("draws latents of 4 channels; give the autoencoder", {"denoiser": latent}),
        ("draws latents of 3 channels; give the autoencoder", {"denoiser": of_three}),
        ("draws images of its own", {"denoiser": pixels, "autoencoder": vae}),
        ("3 channels, the autoencoder has 4", {"denoiser": of_three, "autoencoder": vae}),
        ("encoder reads latents of 4", {"denoiser": pixels, "encoder": latent_encoder()}),
        (
            "encoder reads latents of 3 channels, the denoiser draws 4",
            {"denoiser": latent, "encoder": latent_encoder(3), "autoencoder": vae},
        ),
        (
            "resolution=33 must be a multiple of 2",
            {"denoiser": latent, "autoencoder": vae, "resolution": 33},
        ),
        ("must be a sdg.models.autoencoder.Autoencoder", {"denoiser": latent, "autoencoder": 1}),
    ):
        with pytest.raises(UserError, match=message) as caught:
            Pipeline(**arguments)
        assert "\n" not in str(caught.value)
    noisy = from_pretrained(tmp_path / "clip_noisy.safetensors")
    both = Pipeline(latent, noisy, clip(), autoencoder=vae)
    with pytest.raises(UserError, match="encoder reads images: take a guidance"):
        both("a red circle", progress=False)


def test_denoisers_of_the_latents_of_two_autoencoders_are_kept_apart(folder, pipe, tmp_path):
    """Their digests are of what encodes: in half precision it is the same, decoders may differ."""
    vae = autoencoder_kl(shift_factor=0.1)
    own = Autoencoder(vae).latents_digest
    assert pipe.denoiser.autoencoder_digest == own == pipe.autoencoder.latents_digest
    assert Autoencoder(autoencoder_kl(shift_factor=0.1).half()).latents_digest == own
    assert Autoencoder(autoencoder_kl()).latents_digest != own
    assert Autoencoder(autoencoder_tiny()).latents_digest is None
    with torch.no_grad():
        vae.decoder.conv_in.weight.mul_(2)
        assert Autoencoder(vae).latents_digest == own
        vae.encoder.conv_in.weight.mul_(2)
    ldm(vae).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"^autoguidance: .* latents of different autoencoders"):
        guided_denoiser(pipe.denoiser, autoguidance=load_denoiser(tmp_path), autoguidance_scale=2.0)
    same = guided_denoiser(
        pipe.denoiser, autoguidance=load_denoiser(folder), autoguidance_scale=2.0
    )
    assert same.autoencoder_digest == own
    with pytest.raises(UserError, match="has learned the latents of another autoencoder") as caught:
        Pipeline(same, autoencoder=Autoencoder(vae))
    assert "\n" not in str(caught.value)
    Pipeline(same, autoencoder=Autoencoder(autoencoder_tiny()))  # an imitation


def test_autoencoders_that_are_not_known_are_refused():
    with pytest.raises(UserError, match="the autoencoder must be one of AutoencoderKL"):
        Autoencoder(unet())
    with pytest.raises(UserError, match="scales each channel"):
        Autoencoder(autoencoder_kl(latents_mean=[0.0] * 4))
    with pytest.raises(UserError, match="images of 1 channels"):
        Autoencoder(autoencoder_kl(in_channels=1, out_channels=1))


def test_a_latent_folder_cannot_become_a_pipeline_of_pixels(folder, tmp_path):
    from sdg.io.diffusers_export import why_not_exportable

    assert why_not_exportable(load_denoiser(folder)) == (
        "it draws latents, and DDPMPipeline draws images"
    )
    assert BETAS["beta_start"] == load_denoiser(folder).schedule.betas[0]


def test_from_pretrained_opens_diffusers_autoencoder_by_itself(folder, pipe):
    z = torch.randn(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    alone = from_pretrained(folder / "vqvae")
    assert torch.equal(alone.decode(z), pipe.autoencoder.decode(z))
