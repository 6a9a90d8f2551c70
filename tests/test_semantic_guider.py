"""`SemanticGuider` in diffusers' loops draws what `Pipeline` draws with the score form."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
)
from diffusers import FlowMatchEulerDiscreteScheduler as FlowMatch
from diffusers.guiders import ClassifierFreeGuidance, SkipLayerGuidance
from latent import BETAS, SIDE, autoencoder_kl, unet
from untrained import CLIP_MODEL, NETWORK

from sdg import (
    DDIM,
    DPS,
    Denoiser,
    Heun,
    Pipeline,
    SemanticGuidance,
    SemanticGuider,
    UserError,
)
from sdg.diffusion.noise import Noise
from sdg.diffusion.parametrisation import PREDICTIONS, coefficients, moved_output
from sdg.io.diffusers_scheduler import process_of
from sdg.models.autoencoder import Autoencoder
from sdg.models.clip import CLIP
from sdg.models.unet import UNetEncoder
from sdg.pipeline.guider_checks import scheduler_config

WORDS = ("a", "red", "circle")
STEPS = 4
TRAILING = {"timestep_spacing": "trailing"}
VP = BETAS | {"prediction_type": "v_prediction"}
SCHEDULERS = {
    "ddim": DDIMScheduler(clip_sample=False, **BETAS, **TRAILING),
    "euler": EulerDiscreteScheduler(**BETAS, **TRAILING),
    "euler of v": EulerDiscreteScheduler(**VP, **TRAILING),
    "flow": FlowMatch(),
    "edm": EDMEulerScheduler(),
    "edm, unit deviation": EDMEulerScheduler(sigma_data=1.0),
}


# Of levels, 0 … 999, that these schedulers and DDIM have in common.
SPACINGS = {"flow": "linspace", "edm": "linspace", "edm, unit deviation": "linspace"}


def clip(side=SIDE):
    torch.manual_seed(4)
    vision = CLIP_MODEL["vision_cfg"] | {"image_size": side}
    return CLIP(CLIP_MODEL | {"vision_cfg": vision}, WORDS).requires_grad_(False)


def latent_encoder(schedule, channels=4):
    """An untrained one that reads noisy latents."""
    torch.manual_seed(5)
    encoder = UNetEncoder(clip().config, schedule, NETWORK, latent_channels=channels)
    return encoder.requires_grad_(False).eval()


class Halves(torch.nn.Module):
    """Two networks in one, called with a label as one of text is called with a sentence."""

    def __init__(self):
        super().__init__()
        self.first = unet()
        self.second = unet()
        for weight in self.second.parameters():
            torch.nn.init.normal_(weight, std=0.1)

    def forward(self, x, t, label=0):
        label = label if isinstance(label, int) else int(label[0])
        return (self.first, self.second)[label](x, t).sample


def their_loop(network, scheduler, guider, x):
    """The loop of a modular pipeline, as StableDiffusionXLLoopDenoiser writes it."""
    scheduler.set_timesteps(STEPS)
    x = x * scheduler.init_noise_sigma if hasattr(scheduler, "init_noise_sigma") else x
    kept = []
    for i, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        guider.set_state(step=i, num_inference_steps=STEPS, timestep=t)
        states = guider.prepare_inputs({"label": (torch.tensor([0]), torch.tensor([1]))})
        with torch.no_grad():
            for state in states:
                guider.prepare_models(network)
                state.noise_pred = network(scaled, t, state.label)
                guider.cleanup_models(network)
            kept.append(guider(states)[0])
            x = scheduler.step(kept[-1], t, x, return_dict=False)[0]
    return x, kept


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(6)
    return Halves().eval().requires_grad_(False)


def parts(name, network):
    """(scheduler, our denoiser with classifier-free guidance of 3, an encoder of its process)."""
    from sdg.models.guided import guided_denoiser

    scheduler = SCHEDULERS[name]
    schedule, options = process_of(*scheduler_config(scheduler))
    denoiser = Denoiser(network, schedule, **options, label=0, resolution=SIDE, channels=4)
    guided = guided_denoiser(denoiser, 3.0, negative_label=1)
    return scheduler, guided, latent_encoder(schedule.config)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_loop_of_diffusers_draws_what_the_pipeline_draws(name, network):
    scheduler, denoiser, encoder = parts(name, network)
    vae, text = autoencoder_kl(), clip()
    others = ["a circle", "red"]
    pipe = Pipeline(
        *(denoiser, encoder, text), autoencoder=Autoencoder(vae), negative_captions=others
    )
    pipe.pictures = lambda latents: latents
    picture = torch.linspace(-1, 1, 2 * SIDE).expand(3, 2 * SIDE, 2 * SIDE)
    guidance = SemanticGuidance(40.0, interval=(0.3, 1.0))
    last = []
    drawn = pipe(
        "a red circle",
        content=picture,
        guidance=guidance,
        sampler=DDIM(STEPS, spacing=SPACINGS.get(name, "trailing")),
        num_samples=2,
        callback=lambda done, step: last.append(step.x),
        progress=False,
    )
    noise = Noise(drawn.seeds, (4, SIDE, SIDE))()
    asked = {"prompt": "a red circle", "content": picture, "autoencoder": vae}
    asked["negative_captions"] = others
    inner = ClassifierFreeGuidance(3.0)
    guider = SemanticGuider(scheduler, encoder, text, guidance=guidance, guider=inner, **asked)
    theirs, _ = their_loop(network, scheduler, guider, noise)
    plain, _ = their_loop(network, scheduler, inner, noise)
    # σ of Euler reaches 84, in float32; unguided it is as far from DDIM.
    tolerance = 2e-4 if "euler" in name else 1e-5
    assert (last[-1] - theirs).abs().max() < tolerance * theirs.abs().max()
    assert (plain - theirs).abs().max() > 1e-3 * theirs.abs().max()
    # A step outside of the interval, and the last one, are the other guider's.
    off = SemanticGuider(
        *(scheduler, encoder, text),
        guidance=SemanticGuidance(40.0, interval=(0.0, 0.1)),
        guider=inner,
        **asked,
    )
    assert torch.equal(their_loop(network, scheduler, off, noise)[0], plain)


@pytest.mark.parametrize(
    ("scheduler", "calls"),
    [
        (HeunDiscreteScheduler(**BETAS), 2 * STEPS - 1),
        (PNDMScheduler(**BETAS, skip_prk_steps=True), STEPS + 1),
        (PNDMScheduler(**BETAS), STEPS + 9),
        (DDIMScheduler(**BETAS), STEPS),
    ],
    ids=["heun", "plms", "pndm", "ddim"],
)
@pytest.mark.parametrize("skipped", [0, 2])
def test_all_calls_of_a_solver_but_the_last_are_guided(scheduler, calls, skipped):
    """In loops that begin later too, as those from an image, and in a second loop."""
    guider = SemanticGuider(scheduler)
    scheduler.set_timesteps(STEPS)
    assert len(scheduler.timesteps) == calls
    for _ in range(2):
        acting = []
        for step, t in enumerate(scheduler.timesteps[skipped:]):
            guider.set_state(step=step, num_inference_steps=STEPS, timestep=t)
            acting.append(guider.acts_now())
        assert acting == [True] * (calls - skipped - 1) + [False]


def test_heuns_method_of_diffusers_draws_what_the_pipeline_draws(network):
    """Guided in both calls of a step. diffusers' classifier-free guidance stops after N calls."""
    scheduler = HeunDiscreteScheduler(**BETAS, **TRAILING)
    schedule, options = process_of(*scheduler_config(scheduler))
    denoiser = Denoiser(network, schedule, **options, label=0, resolution=SIDE, channels=4)
    encoder, text = latent_encoder(schedule.config), clip()
    pipe = Pipeline(denoiser, encoder, text, autoencoder=Autoencoder(autoencoder_kl()))
    pipe.pictures = lambda latents: latents
    guidance, last = SemanticGuidance(40.0, interval=(0.0, 1.0)), []
    drawn = pipe(
        "a circle",
        guidance=guidance,
        sampler=Heun(STEPS, spacing="trailing"),
        callback=lambda done, step: last.append(step.x),
        progress=False,
    )
    noise = Noise(drawn.seeds, (4, SIDE, SIDE))()
    alone = ClassifierFreeGuidance(1.0)
    guider = SemanticGuider(
        scheduler, encoder, text, prompt="a circle", guidance=guidance, guider=alone
    )
    theirs, _ = their_loop(network, scheduler, guider, noise)
    plain, _ = their_loop(network, scheduler, alone, noise)
    assert (last[-1] - theirs).abs().max() < 2e-4 * theirs.abs().max()
    assert (plain - theirs).abs().max() > 1e-3 * theirs.abs().max()


def test_a_scheduler_of_other_timesteps_has_its_calls_counted():
    own, other = DDIMScheduler(**BETAS), DDIMScheduler(**BETAS)
    own.set_timesteps(7)
    other.set_timesteps(STEPS)
    guider, acting = SemanticGuider(own), []
    for step, t in enumerate(other.timesteps + 1.5):
        guider.set_state(step=step, num_inference_steps=STEPS, timestep=t)
        acting.append(guider.acts_now())
    assert acting == [True] * (STEPS - 1) + [False]


def test_each_prompt_of_a_list_guides_its_own_samples(network):
    scheduler, denoiser, encoder = parts("ddim", network)
    text, prompts = clip(), ["a red circle", "a circle"]
    pipe = Pipeline(denoiser, encoder, text, autoencoder=Autoencoder(autoencoder_kl()))
    pipe.pictures = lambda latents: latents
    sampler, last = DDIM(STEPS, spacing="trailing"), []
    options = {"gamma": 40.0, "sampler": sampler, "num_samples": 2, "progress": False}
    drawn = pipe(prompts, callback=lambda done, step: last.append(step.x), **options)
    noise = Noise(drawn.seeds, (4, SIDE, SIDE))()
    inner = ClassifierFreeGuidance(3.0)
    guider = SemanticGuider(scheduler, encoder, text, prompt=prompts, gamma=40.0, guider=inner)
    theirs, _ = their_loop(network, scheduler, guider, noise)
    assert (last[-1] - theirs).abs().max() < 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_gamma_zero_is_the_other_guider_bit_for_bit(name, network):
    scheduler, _, encoder = parts(name, network)
    noise = Noise([1], (4, SIDE, SIDE))()
    inner = ClassifierFreeGuidance(3.0)
    guider = SemanticGuider(
        scheduler, encoder, clip(), prompt="a red circle", gamma=0.0, guider=inner
    )
    _, ours = their_loop(network, scheduler, guider, noise)
    _, theirs = their_loop(network, scheduler, inner, noise)
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


def test_a_disabled_guider_gives_the_conditional_prediction_alone(network):
    scheduler, _, encoder = parts("ddim", network)
    noise = Noise([1], (4, SIDE, SIDE))()
    inner = ClassifierFreeGuidance(3.0)
    guider = SemanticGuider(scheduler, encoder, clip(), prompt="a circle", gamma=9.0, guider=inner)
    guider.disable()
    assert guider.num_conditions == 1
    _, ours = their_loop(network, scheduler, guider, noise)
    _, alone = their_loop(network, scheduler, ClassifierFreeGuidance(1.0), noise)
    assert all(torch.equal(*pair) for pair in zip(ours, alone, strict=True))
    guider.enable()
    assert guider.num_conditions == 2
    _, ours = their_loop(network, scheduler, guider, noise)
    _, theirs = their_loop(network, scheduler, ClassifierFreeGuidance(3.0), noise)
    assert not torch.equal(ours[0], theirs[0])


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_whatever_is_predicted_moves_by_the_same_noise(prediction):
    """The ε that follows from the moved output is ε − n · score, in float64."""
    generator = torch.Generator().manual_seed(0)
    x, output, score = torch.randn(3, 1, 2, 4, 4, dtype=torch.float64, generator=generator)
    a = torch.tensor(0.6, dtype=torch.float64)
    n = (1 - a**2).sqrt()
    row = coefficients(prediction, a, n)

    def noise(out):
        return (x - a * (row.of_x * x + row.of_output * out) / row.divisor) / n

    moved = moved_output(prediction, output, score, a, n)
    assert torch.allclose(noise(moved), noise(output) - n * score, atol=1e-12, rtol=0)
    alone = moved_output(prediction, output, score, 0 * a, n / n)
    assert torch.equal(alone, output)


def test_a_pipeline_of_pixels_and_functions_of_ones_own():
    """A closed form: the gradient of −½‖x − c‖² at x_t is c − x_t."""
    scheduler = SCHEDULERS["ddim"]
    torch.manual_seed(3)
    network = unet(3).requires_grad_(False)
    x = torch.randn(2, 3, SIDE, SIDE)
    function = lambda x, level: -(x - 0.3).square().flatten(1).sum(1) / 2  # noqa: E731
    guider = SemanticGuider(
        scheduler, similarity=function, gamma=0.5, guider=ClassifierFreeGuidance(1.0)
    )
    guider.set_state(step=0, num_inference_steps=3, timestep=torch.tensor(600))
    (state,) = guider.prepare_inputs({"label": (torch.tensor([0]), torch.tensor([1]))})
    with torch.no_grad():
        guider.prepare_models(network)
        state.noise_pred = network(sample=x, timestep=torch.tensor(600)).sample
        guider.cleanup_models(network)
        moved = guider([state]).pred
    sigma = (1 - scheduler.alphas_cumprod[600]).sqrt()
    assert torch.allclose(moved, state.noise_pred - sigma * 0.5 * (0.3 - x), atol=1e-5)


REFUSED = {
    "no scheduler": (lambda **_: SemanticGuider(3), "^scheduler must be one of diffusers"),
    "a clean one": (
        lambda scheduler, encoder: SemanticGuider(scheduler, clip(), prompt="a"),
        "reads noisy samples, and this encoder clean",
    ),
    "no encoder": (lambda scheduler, encoder: SemanticGuider(scheduler, prompt="a"), "no encoder"),
    "no text": (
        lambda scheduler, encoder: SemanticGuider(scheduler, encoder, prompt="a"),
        "no text tower",
    ),
    "x0": (
        lambda scheduler, encoder: SemanticGuider(scheduler, guidance=DPS(1.0)),
        "guidance DPS calls the network itself",
    ),
    "mean": (
        lambda scheduler, encoder: SemanticGuider(
            scheduler, guidance=SemanticGuidance(gradient_at="mean")
        ),
        "^gradient_at=mean",
    ),
    "recurrence": (
        lambda scheduler, encoder: SemanticGuider(
            scheduler, guidance=SemanticGuidance(recurrence=2)
        ),
        "^recurrence, candidates",
    ),
    "two strengths": (
        lambda scheduler, encoder: SemanticGuider(
            scheduler, gamma=1.0, guidance=SemanticGuidance()
        ),
        "leave gamma out",
    ),
    "no guider": (
        lambda scheduler, encoder: SemanticGuider(scheduler, guider=7.5),
        "^guider must be a diffusers",
    ),
    "config": (lambda **_: SemanticGuider.from_config({}), "no config rebuilds"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_guide_is_refused_in_one_line(name):
    scheduler = SCHEDULERS["ddim"]
    make, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as caught:
        make(scheduler=scheduler, encoder=latent_encoder(process_config(scheduler)))
    assert "\n" not in str(caught.value)


def test_an_encoder_of_another_autoencoders_latents_is_refused_in_one_line():
    scheduler, vae = SCHEDULERS["ddim"], autoencoder_kl()
    encoder = latent_encoder(process_config(scheduler))
    asked = {"prompt": "a circle", "autoencoder": vae}
    for digest in (None, Autoencoder(vae).latents_digest):
        encoder.autoencoder_digest = digest
        SemanticGuider(scheduler, encoder, clip(), **asked)
    encoder.autoencoder_digest = Autoencoder(autoencoder_kl(scaling_factor=2.0)).latents_digest
    with pytest.raises(UserError, match="has learned the latents of another autoencoder") as caught:
        SemanticGuider(scheduler, encoder, clip(), **asked)
    assert "\n" not in str(caught.value)


def process_config(scheduler):
    return process_of(*scheduler_config(scheduler)).schedule.config


def call(guider, x, prediction, network):
    guider.set_state(step=0, num_inference_steps=3, timestep=torch.tensor(600))
    states = guider.prepare_inputs({"label": (torch.tensor([0]), torch.tensor([1]))})
    for state in states:
        guider.prepare_models(network)
        network(x)
        state.noise_pred = prediction
        guider.cleanup_models(network)
    return guider(states)


def test_samples_that_an_encoder_cannot_read_are_refused_in_one_line():
    scheduler = SCHEDULERS["ddim"]
    encoder, network = latent_encoder(process_config(scheduler)), torch.nn.Identity()
    x = torch.zeros(2, 4, SIDE, SIDE)
    picture = torch.zeros(3, 2 * SIDE, 2 * SIDE)
    for message, sample, asked in (
        ("Packed tokens", torch.zeros(2, 16, 8), {"prompt": "a"}),
        ("latents of 4 channels, and this pipeline's network is", x[:, :3], {"prompt": "a"}),
        ("draw images of that size", torch.zeros(2, 4, 48, 48), {"prompt": "a"}),
        ("3 conditions, and the pipeline draws 2", x, {"prompt": ["a", "red", "circle"]}),
        ("give the pipeline's autoencoder", x, {"content": picture}),
    ):
        guider = SemanticGuider(scheduler, encoder, clip(), **asked)
        with pytest.raises(UserError, match=message) as caught:
            call(guider, sample, sample, network)
        assert "\n" not in str(caught.value)
    guider = SemanticGuider(scheduler, encoder, clip(), prompt="a")
    with pytest.raises(UserError, match="Packed tokens and channels of a mask"):
        call(guider, torch.zeros(2, 9, SIDE, SIDE), x, network)
    with torch.inference_mode(), pytest.raises(UserError, match="leaves no gradient"):
        call(guider, x, x, network)


def test_another_guider_keeps_its_hooks_and_its_number_of_calls():
    scheduler = SCHEDULERS["ddim"]
    inner = SkipLayerGuidance(
        guidance_scale=5.0, skip_layer_guidance_scale=2.0, skip_layer_guidance_layers=[0]
    )
    guider = SemanticGuider(scheduler, guider=inner)
    guider.set_state(step=0, num_inference_steps=20, timestep=torch.tensor(600))
    inner.set_state(step=0, num_inference_steps=20, timestep=torch.tensor(600))
    assert guider.num_conditions == inner.num_conditions
    assert guider._input_predictions == inner._input_predictions
    assert "gamma" in repr(guider)
