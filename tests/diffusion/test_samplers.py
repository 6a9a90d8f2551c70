"""Reverse steps against diffusers' and closed forms; noise, batches, recurrence, overflow."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from diffusers.schedulers import scheduling_ddpm
from gaussian import Perfect
from torch import nn

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import GuidanceOutput
from sdg.diffusion.noise import Noise
from sdg.diffusion.sampler import PrevStep
from sdg.diffusion.samplers import (
    DDIM,
    DDPM,
    DPMSolver,
    ddim_step,
    ddpm_step,
    dpm_solver_step,
    heun_step,
)
from sdg.diffusion.sampling import sample
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.guidance.semantic import SemanticGuidance

KINDS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}  # ours: diffusers'
PREDICTIONS = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
SHAPE = (3, 4, 4)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def exact(scheduler, steps):
    """diffusers' scheduler with ᾱ multiplied up in fp64 from its own β.

    In fp32 its 1 − ᾱ near t = 0 is off by 3e-4 of itself.
    """
    scheduler.alphas_cumprod = torch.cumprod(1 - scheduler.betas.double(), 0)
    scheduler.set_timesteps(steps)
    return scheduler


class Mix(nn.Module):
    """A smooth network of pixel and level, with answers of order one."""

    def __init__(self, outputs=3, dtype=torch.float64):
        super().__init__()
        self.weight = nn.Parameter(0.5 * normal(outputs, 3, 3, 3, dtype=dtype))

    def forward(self, x, t):
        level = (t.to(x.dtype) / 300).sin().view(-1, 1, 1, 1)
        return torch.tanh(nn.functional.conv2d(x, self.weight, padding=1) + level)


class Impulses:
    """In place of noise: image k gets the k-th draw, of one pixel, as 1 and every other as 0.

    The images are those of the batch; the last gets none.

    An affine sampler then answers with every draw's coefficient, that is with its exact mean and
    variance.
    """

    def __init__(self, draws):
        self.draws, self.k = draws, 0

    def __call__(self):
        z = torch.zeros(self.draws + 1, 1, 1, 1, dtype=torch.float64)
        z[self.k] = 1e-3  # small, so that the samplers' clamp to [-1, 1] stays out of reach
        self.k += 1
        return z

    def moments(self, images):
        assert self.k == self.draws
        offset, images = images[-1].item(), images[:-1].flatten()
        return offset, (((images - offset) / 1e-3) ** 2).sum().item()


class Constant:
    """Guidance by given functions of (x, t); notes the levels at which it was asked."""

    last_step = clip_first = False

    def __init__(self, score=None, shift=None, push=None, repeats=1):
        self.score, self.shift, self.at_mean, self.times, self.asked = (
            score,
            shift,
            push,
            repeats,
            [],
        )

    def guide_prediction(self, predict, x_t, t, s, noise):
        self.asked.append(t)
        return GuidanceOutput(
            predict(x_t), *(None if f is None else f(x_t, t) for f in (self.score, self.shift))
        )

    def mean_gradient(self, mean, x_t, t, s):
        return None if self.at_mean is None else self.at_mean(mean, s)

    def guided_repeats(self, t):
        return self.times


def tiny_unet():
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    return Denoiser(unet.eval(), Schedule("cosine", 100), "v")


# --- diffusers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_unguided_ddpm_equals_diffusers(monkeypatch, kind, prediction, variance, spacing):
    # Set alike: spacing, clipping of x̂_0 to [-1, 1], final ᾱ = 1 (DDPM's only). Trailing steps end
    # above t = 0, where diffusers adds a last noise to its clean image and we do not: there the
    # result is its x̂_0.
    theirs = exact(
        DDPMScheduler(
            1000,
            beta_schedule=KINDS[kind],
            variance_type=variance,
            prediction_type=PREDICTIONS[prediction],
            clip_sample=True,
            timestep_spacing=spacing,
        ),
        20,
    )
    network = Mix(6 if variance == "learned_range" else 3)
    denoiser = Denoiser(network, Schedule(kind, 1000), prediction, variance, clip=True)
    x = y = normal(2, *SHAPE)
    with torch.no_grad():
        for i, (t, s) in enumerate(denoiser.schedule.steps(20, spacing), 1):
            assert t == theirs.timesteps[i - 1]
            z = normal(2, *SHAPE, seed=i)
            monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, z=z, **__: z)
            y = getattr(
                theirs.step(network(y, torch.full((2,), t)), t, y),
                "prev_sample" if s >= 0 else "pred_original_sample",
            )
            x = ddpm_step(denoiser, x, t, s, lambda z=z: z).x
            torch.testing.assert_close(x, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "spacing", ["leading", "trailing"]
)  # theirs steps by T // 20 off a linspace grid
def test_unguided_ddim_equals_diffusers(kind, prediction, eta, spacing):
    # Set alike: spacing with 20 a divisor of T (diffusers steps by T // 20), clipping of x̂_0 to
    # [-1, 1] with ε̂ moved to match, final ᾱ = 1.
    theirs = exact(
        DDIMScheduler(
            1000,
            beta_schedule=KINDS[kind],
            prediction_type=PREDICTIONS[prediction],
            clip_sample=True,
            set_alpha_to_one=True,
            timestep_spacing=spacing,
        ),
        20,
    )
    network, sampler = Mix(), DDIM(20, spacing, eta)
    denoiser = Denoiser(network, Schedule(kind, 1000), prediction, clip=True)
    x = y = normal(2, *SHAPE)
    with torch.no_grad():
        for i, (t, s) in enumerate(denoiser.schedule.steps(20, spacing), 1):
            assert t == theirs.timesteps[i - 1]
            z = normal(2, *SHAPE, seed=i)
            y = theirs.step(
                network(y, torch.full((2,), t)),
                t,
                y,
                eta=eta,
                use_clipped_model_output=True,
                variance_noise=z,
            ).prev_sample
            x = sampler.step(denoiser, x, t, s, lambda z=z: z).x
            torch.testing.assert_close(x, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "sampler, theirs",
    [
        (
            DDPM(20, "linspace"),
            DDPMScheduler(
                1000, clip_sample=False, timestep_spacing="linspace", prediction_type="v_prediction"
            ),
        ),
        (
            DDIM(20, "leading"),
            DDIMScheduler(
                1000, clip_sample=False, timestep_spacing="leading", prediction_type="v_prediction"
            ),
        ),
    ],
)
def test_unclipped_sampling_equals_diffusers(monkeypatch, sampler, theirs):
    # Set alike: spacing, no clipping, final ᾱ = 1.
    theirs, network = exact(theirs, 20), Mix()
    denoiser = Denoiser(network, Schedule("linear", 1000), "v", clip=False)
    x = y = normal(2, *SHAPE)
    with torch.no_grad():
        for i, (t, s) in enumerate(denoiser.schedule.steps(20, sampler.spacing), 1):
            z = normal(2, *SHAPE, seed=i)
            monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, z=z, **__: z)
            y = theirs.step(network(y, torch.full((2,), t)), t, y).prev_sample
            x = sampler.step(denoiser, x, t, s, lambda z=z: z).x
            torch.testing.assert_close(x, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "prediction, clip", [("epsilon", True), ("x0", True), ("v", True), ("x0", False), ("v", False)]
)
@pytest.mark.parametrize("algorithm, eta", [("dpmsolver++", 0.0), ("sde-dpmsolver++", 1.0)])
def test_unguided_dpm_solver_equals_diffusers(kind, prediction, clip, algorithm, eta):
    # Set alike: order 2 by the midpoint rule on x̂_0 (dpmsolver++), trailing spacing, final ᾱ = 1
    # by a last step of first order. Their thresholding clips x̂_0 to [-s, s] with s the pixels'
    # largest size, at least 1; with ratio 0 s = 1, which is clipping to [-1, 1].
    theirs = DPMSolverMultistepScheduler(
        1000,
        beta_schedule=KINDS[kind],
        prediction_type=PREDICTIONS[prediction],
        algorithm_type=algorithm,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        thresholding=clip,
        dynamic_thresholding_ratio=0.0,
    )
    theirs.alphas_cumprod = torch.cumprod(1 - theirs.betas.double(), 0)
    theirs.set_timesteps(20)
    theirs.sigmas = torch.cat(
        [
            ((1 - theirs.alphas_cumprod) / theirs.alphas_cumprod)[theirs.timesteps] ** 0.5,
            torch.zeros(1, dtype=torch.float64),
        ]
    )
    network, past = Mix(), None
    denoiser = Denoiser(network, Schedule(kind, 1000), prediction, clip=clip)
    x = y = normal(2, *SHAPE)
    with torch.no_grad():
        for i, (t, s) in enumerate(denoiser.schedule.steps(20, "trailing"), 1):
            assert t == theirs.timesteps[i - 1]
            z = normal(2, *SHAPE, seed=i)
            output = network(y, torch.full((2,), t))
            y = theirs.step(output, t, y, variance_noise=z).prev_sample
            step = dpm_solver_step(denoiser, x, t, s, lambda z=z: z, past=past, eta=eta)
            x, past = step.x, PrevStep(t, step.x0)
            torch.testing.assert_close(x, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("process", ["cosine", "flow"])
def test_the_first_step_of_dpm_solver_is_that_of_ddim(process, eta):
    schedule = Schedule(process, 100)
    prediction = "velocity" if process == "flow" else "v"
    denoiser = Denoiser(Mix(), schedule, prediction, clip=True)
    x, z = normal(2, 2, *SHAPE)
    with torch.no_grad():
        for t, s in ((99, 60), (60, 40), (1, 0), (40, -1)):
            torch.testing.assert_close(
                dpm_solver_step(denoiser, x, t, s, lambda: z, eta=eta).x,
                ddim_step(denoiser, x, t, s, lambda: z, eta=eta).x,
            )


def test_ddim_with_eta_one_is_ddpm():
    denoiser = Denoiser(Mix(), Schedule("cosine", 100), "v", clip=True)
    x, z = normal(2, 2, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(
            ddim_step(denoiser, x, 60, 40, lambda: z, eta=1.0).x,
            ddpm_step(denoiser, x, 60, 40, lambda: z).x,
        )


@pytest.mark.parametrize("gradient_at", ["mean", "mean_own_level"])
def test_ddim_with_eta_one_is_ddpm_guided_at_the_mean_too(gradient_at):
    denoiser = Denoiser(Mix(), Schedule("cosine", 100), "v", clip=True)
    x, z = normal(2, 2, *SHAPE)

    def guided(sampler):
        guidance = SemanticGuidance(7.0, gradient_at)
        similarity = lambda x, level: (level + 1) * x.sin().flatten(1).sum(1)  # noqa: E731
        guide = guidance.prepare(similarity, denoiser.schedule, sampler)
        return sampler.step(denoiser, x, 60, 40, lambda: z, guide).x

    with torch.no_grad():
        ours, theirs = guided(DDIM(10, eta=1.0)), guided(DDPM(10))
        plain = ddpm_step(denoiser, x, 60, 40, lambda: z).x
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)  # the gradient is of fp32
    assert (theirs - plain).abs().max() > 1


def test_a_gradient_at_the_mean_counts_by_the_square_of_eta():
    denoiser = Denoiser(Mix(), Schedule("linear", 100), "v", clip=True)
    x, z, g = normal(3, 2, *SHAPE)
    guide = Constant(push=lambda x, s: g)
    small = denoiser.schedule.posterior_variance(60, 40)
    for eta in (0.0, 0.3, 1.0):
        with torch.no_grad():
            guided, plain = (
                ddim_step(denoiser, x, 60, 40, lambda: z, each, eta=eta).x for each in (guide, None)
            )
        torch.testing.assert_close(guided - plain, eta**2 * small * g)


def test_sample_runs_every_step_with_the_draws_in_order():
    denoiser, told = Denoiser(Mix(dtype=torch.float32), Schedule("cosine", 100), "v"), []
    images = sample(
        denoiser, DDPM(7), Noise([3, 4], SHAPE), on_step=lambda done, step: told.append(done)
    )
    noise = Noise([3, 4], SHAPE)
    with torch.no_grad():
        x = noise()
        for t, s in denoiser.schedule.steps(7, "linspace"):
            x = ddpm_step(denoiser, x, t, s, noise).x
    assert torch.equal(images, x.clamp(-1, 1)) and told == [1, 2, 3, 4, 5, 6, 7]


def test_sample_hands_the_second_order_solver_its_previous_prediction():
    denoiser, noise = (
        Denoiser(Mix(dtype=torch.float32), Schedule("cosine", 100), "v"),
        Noise([3], SHAPE),
    )
    sampler = DPMSolver(7)
    images, past = sample(denoiser, sampler, Noise([3], SHAPE)), None
    with torch.no_grad():
        x = first_order = noise()
        for t, s in denoiser.schedule.steps(7, sampler.spacing):
            step, first_order = (
                dpm_solver_step(denoiser, x, t, s, noise, None, past),
                dpm_solver_step(denoiser, first_order, t, s, noise).x,
            )
            x, past = step.x, PrevStep(t, step.x0)
    assert torch.equal(images, x.clamp(-1, 1)) and not torch.allclose(
        images, first_order.clamp(-1, 1), atol=1e-3
    )


# --- guidance enters ----------------------------------------------------------------------------


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
def test_constant_gradient_moves_a_ddpm_step_by_variance_times_gradient(variance):
    denoiser = Denoiser(
        Mix(6 if variance == "learned_range" else 3), Schedule("linear", 100), "v", variance
    )
    x, z, g = normal(3, 2, *SHAPE)
    g = g.float()  # as guidance gives it
    similarity = lambda x, t: (x * g).flatten(1).sum(1)  # noqa: E731
    guide = SemanticGuidance(gamma=3.0).prepare(similarity, denoiser.schedule, DDPM())
    with torch.no_grad():
        moved = (
            ddpm_step(denoiser, x, 50, 40, lambda: z, guide).x
            - ddpm_step(denoiser, x, 50, 40, lambda: z).x
        )
        expected = denoiser.reverse(denoiser(x, 50), x, 50, 40).variance * 3.0 * g  # Σ knows no x̂_0
    torch.testing.assert_close(
        moved, expected, rtol=1e-6, atol=1e-12
    )  # γg is rounded to fp32, the step is not


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_constant_gradient_moves_ddims_noise_by_root_of_one_minus_alpha_bar(eta):
    network, schedule = Mix(), Schedule("linear", 100)
    denoiser = Denoiser(network, schedule, clip=False)
    x, z, g = normal(3, 2, *SHAPE)
    a_t, a_s = schedule.alpha_bar(50), schedule.alpha_bar(40)
    with torch.no_grad():
        eps = network(x, torch.full((2,), 50)) - (1 - a_t).sqrt() * g
        x0 = (x - (1 - a_t).sqrt() * eps) / a_t.sqrt()
        sigma2 = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
        expected = a_s.sqrt() * x0 + (1 - a_s - sigma2).sqrt() * eps + sigma2.sqrt() * z
        torch.testing.assert_close(
            ddim_step(denoiser, x, 50, 40, lambda: z, Constant(score=lambda x, t: g), eta=eta).x,
            expected,
        )


@pytest.mark.parametrize("step", [ddpm_step, ddim_step, dpm_solver_step])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
def test_step_to_the_clean_image_is_neither_guided_nor_noised(step, variance):
    denoiser = Denoiser(
        Mix(6 if variance == "learned_range" else 3), Schedule("cosine", 100), "v", variance
    )
    wild = Constant(
        score=lambda x, t: 1e3 * x, shift=lambda x, t: 1e3 * x, push=lambda x, s: 1e3 * x
    )
    x, z = normal(2, 2, *SHAPE)
    for t in (0, 30):
        with torch.no_grad():
            result = step(denoiser, x, t, -1, lambda: z, wild).x
            torch.testing.assert_close(result, denoiser(x, t).x0.clamp(-1, 1), rtol=0, atol=1e-6)
    assert not wild.asked


@pytest.mark.parametrize("step", [ddpm_step, ddim_step, dpm_solver_step])
@pytest.mark.parametrize("past", [None, 60])
def test_a_shift_of_x0_moves_the_step_by_root_alpha_bar_and_leaves_the_noise(step, past):
    denoiser = Denoiser(Mix(), Schedule("linear", 100), "v", clip=False)
    x, z, shift, before = normal(4, 2, *SHAPE)
    past = past and PrevStep(past, before)
    with torch.no_grad():
        guided, plain = (
            step(denoiser, x, 50, 40, lambda: z, Constant(shift=lambda x, t: shift), past),
            step(denoiser, x, 50, 40, lambda: z, None, past),
        )
    torch.testing.assert_close(guided.x - plain.x, denoiser.schedule.alpha_bar(40).sqrt() * shift)
    torch.testing.assert_close(
        guided.x0 - plain.x0, torch.zeros_like(shift) if step is dpm_solver_step else shift
    )


@pytest.mark.parametrize("step", [ddpm_step, ddim_step, dpm_solver_step])
def test_a_shifted_x0_stays_within_the_pixels_range(step):
    denoiser = Denoiser(Mix(), Schedule("linear", 100), "v")
    x, z = normal(2, 2, *SHAPE)
    with torch.no_grad():
        plain = step(denoiser, x, 50, 40, lambda: z)
        guided = step(
            denoiser, x, 50, 40, lambda: z, Constant(shift=lambda x, t: torch.full_like(x, 100.0))
        )
    torch.testing.assert_close(
        guided.x - plain.x, denoiser.schedule.alpha_bar(40).sqrt() * (1 - plain.x0)
    )


@pytest.mark.parametrize("clip", [True, False])
def test_a_score_moves_ddpm_as_it_moves_ddim_with_ddpms_noise(clip):
    denoiser, condition = (
        Denoiser(Mix(), Schedule("cosine", 100), "v", clip=clip),
        Constant(score=lambda x, t: 0.3 * x.cos()),
    )
    x, z = normal(2, 2, *SHAPE)
    for t, s in ((90, 50), (60, 40), (10, 0)):
        with torch.no_grad():
            found, expected = (
                ddpm_step(denoiser, x, t, s, lambda: z, condition),
                ddim_step(denoiser, x, t, s, lambda: z, condition, eta=1.0),
            )
        torch.testing.assert_close(found.x, expected.x)
        torch.testing.assert_close(found.x0, expected.x0)


# --- from an image ------------------------------------------------------------------------------


def test_starting_from_an_image_takes_the_last_steps_from_its_noised_self():
    denoiser, start, seen = (
        Denoiser(Mix(dtype=torch.float32), Schedule("cosine", 100), "v"),
        normal(2, *SHAPE, dtype=torch.float32).clamp(-1, 1),
        [],
    )
    sample(
        denoiser,
        DDPM(10),
        Noise([1, 2], SHAPE),
        start=start,
        strength=0.6,
        on_step=lambda done, step: seen.append(step),
    )
    assert len(seen) == 6
    t, s = denoiser.schedule.steps(10)[4]
    noise = Noise([1, 2], SHAPE)
    with torch.no_grad():
        first = ddpm_step(denoiser, denoiser.schedule.q_sample(start, t, noise()), t, s, noise)
    assert torch.equal(seen[0].x, first.x)


def test_full_strength_forgets_the_image_as_far_as_the_schedule_does():
    denoiser = Denoiser(Mix(dtype=torch.float32), Schedule("cosine", 1000), "v")
    starts = [torch.full((1, *SHAPE), value) for value in (-1.0, 1.0)]
    black, white = (
        sample(denoiser, DDIM(10), Noise([1], SHAPE), start=start, strength=1.0) for start in starts
    )
    torch.testing.assert_close(black, white, rtol=0, atol=1e-3)  # √ᾱ_T is 5e-5


# --- noise and batches --------------------------------------------------------------------------


def test_draws_of_a_sample_do_not_depend_on_its_batch():
    def draws(seeds):
        noise = Noise(seeds, SHAPE)
        return torch.stack([noise() for _ in range(3)], 1)

    everyone = draws([5, 6, 7, 8])
    assert torch.equal(torch.cat([draws([seed]) for seed in (5, 6, 7, 8)]), everyone)
    assert torch.equal(draws([8, 5, 99]), torch.stack([everyone[3], everyone[0], draws([99])[0]]))
    assert len({tuple(draw.flatten().tolist()) for draw in everyone.flatten(0, 1)}) == 12


def test_draws_are_standard_normal():
    noise = Noise(range(50), (3, 32, 32))()
    n = noise.numel() ** 0.5
    assert (
        abs(noise.mean()) < 4 / n
        and abs(noise.var() - 1) < 4 * 2**0.5 / n
        and abs((noise**4).mean() - 3) < 4 * 96**0.5 / n
    )


@pytest.mark.parametrize("sampler", [DDPM(8), DDIM(8, eta=0.5)])
def test_images_do_not_depend_on_the_batch_size(sampler):
    denoiser, seeds = tiny_unet(), [11, 12, 13, 14, 15]
    similarity = lambda x, t: x.flatten(1).tanh().sum(1)  # noqa: E731
    guide = SemanticGuidance(0.5).prepare(similarity, denoiser.schedule, sampler)

    def images(size):
        parts = [seeds[i : i + size] for i in range(0, 5, size)]
        return torch.cat(
            [sample(denoiser, sampler, Noise(part, (3, 8, 8)), guide) for part in parts]
        )

    torch.testing.assert_close(images(1), images(5), rtol=0, atol=1e-4)
    torch.testing.assert_close(images(3), images(5), rtol=0, atol=1e-4)


@pytest.mark.parametrize("sampler", [DDPM(6), DDIM(6), DPMSolver(6)])
def test_gamma_zero_is_the_unguided_sampler_bit_for_bit_without_an_encoder_call(sampler):
    def encoder(x, t):
        raise AssertionError("the encoder was called")

    denoiser = tiny_unet()
    guide = SemanticGuidance(gamma=0, recurrence=3).prepare(encoder, denoiser.schedule, sampler)
    assert guide is None
    # And where the similarity says nothing, guidance does nothing to the noise either.
    silent = SemanticGuidance(gamma=1.0).prepare(
        lambda x, t: 0 * x.flatten(1).sum(1), denoiser.schedule, sampler
    )
    torch.testing.assert_close(
        sample(denoiser, sampler, Noise([1, 2], (3, 8, 8)), silent),
        sample(denoiser, sampler, Noise([1, 2], (3, 8, 8))),
        rtol=0,
        atol=1e-6,
    )


# --- recurrence and overflow --------------------------------------------------------------------


def test_recurrence_takes_each_guided_step_that_often_and_never_the_last():
    denoiser = Denoiser(Mix(dtype=torch.float32), Schedule("cosine", 100), "v")

    def asked(repeats):
        guide = Constant(repeats=repeats)
        sample(denoiser, DDPM(4), Noise([0], SHAPE), guide)
        return guide.asked

    assert asked(1) == [99, 66, 33] and asked(3) == [99] * 3 + [66] * 3 + [33] * 3


def test_recurrence_of_one_is_the_plain_sampler():
    denoiser = Denoiser(Mix(dtype=torch.float32), Schedule("cosine", 100), "v")
    plain, one, two = (
        sample(denoiser, DDPM(5), Noise([0, 1], SHAPE), guide)
        for guide in (None, Constant(repeats=1), Constant(repeats=2))
    )
    assert torch.equal(one, plain) and not torch.equal(two, plain)


@pytest.mark.parametrize("recurrence, guided", [(1, False), (1, True), (3, True)])
def test_recurrence_of_a_perfect_model_preserves_the_marginal(recurrence, guided):
    # For x_0 ~ N(m, 1) every x_t has variance 1 and p(x_s | x_t) has variance β on any grid, so
    # DDPM with fixed_large is exact.
    schedule, m, steps = Schedule("cosine", 200), 0.3, 10
    denoiser = Denoiser(Perfect(schedule, m, 1.0), schedule, "x0", "fixed_large", clip=False)
    noise = Impulses(1 + 1 + (steps - 1) * (2 * recurrence - 1 if guided else 1))
    guide = Constant(score=lambda x, t: torch.zeros_like(x), repeats=recurrence) if guided else None
    mean, variance = noise.moments(sample(denoiser, DDPM(steps, "leading"), noise, guide))
    # The last step takes E[x_0 | x_0-th level] = m + √ᾱ (x − √ᾱ m), whose variance is ᾱ.
    assert variance == pytest.approx(schedule.alpha_bar(0).item(), rel=1e-9)
    assert mean == pytest.approx(m, abs=0.02)  # x_T starts at N(0, 1) instead of N(√ᾱ_T m, 1)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_overflow_is_refused_with_the_step_at_which_it_happened(bad):
    denoiser = Denoiser(Mix(dtype=torch.float32), Schedule("cosine", 100), "v")
    guide = Constant(push=lambda x, s: torch.full_like(x, bad if s < 40 else 0.0))
    with pytest.raises(UserError, match=r"overflowed by step 3 of 5.*lower gamma"):
        sample(denoiser, DDPM(5), Noise([0], SHAPE), guide)


@pytest.mark.parametrize(
    "make",
    [lambda: DDPM(0), lambda: DDPM(1.5), lambda: DDIM(10, eta=1.5), lambda: DDIM(10, eta=-0.1)],
)
def test_impossible_sampler_is_refused(make):
    with pytest.raises(UserError, match=r"^(steps|eta) must be"):
        make()


@pytest.mark.parametrize(
    "gives, says",
    [
        (lambda step: step.x, r"Own.step gave Tensor; it must give a Step\(x, x0\)"),
        (lambda step: (step.x, step.x0), "Own.step gave tuple; it must give a Step"),
        (lambda step: None, "Own.step gave NoneType; it must give a Step"),
        (lambda step: step._replace(x0=None), "Own.step gave x0 as NoneType; it must be a tensor"),
        (lambda step: step._replace(x=step.x[:1]), r"x of shape \(1, 3, 4, 4\); .* \(2, 3, 4, 4\)"),
    ],
)
def test_a_sampler_of_ones_own_that_gives_no_step_is_named(gives, says):
    class Own(DDIM):
        def step(self, *arguments):
            return gives(super().step(*arguments))

    denoiser = Denoiser(Mix(dtype=torch.float32), Schedule("cosine", 100), "x0")
    with pytest.raises(UserError, match=says):
        sample(denoiser, Own(3), Noise([0, 1], SHAPE))


def test_heun_adds_a_shift_as_ddim_does():
    """Of a network that always gives one image the flow is straight, and both steps are exact."""
    schedule = Schedule("edm")
    same = nn.Module()
    same.forward = lambda x, t: torch.zeros_like(x)
    denoiser = Denoiser(same, schedule, "x0", clip=False)
    x, noise = normal(2, *SHAPE), Noise([0, 1], SHAPE)
    guide = Constant(shift=lambda x, t: torch.full_like(x, 0.5))
    steps = [step(denoiser, x, 600, 300, noise, guide) for step in (ddim_step, heun_step)]
    torch.testing.assert_close(steps[1].x, steps[0].x)
    torch.testing.assert_close(steps[1].x0, steps[0].x0)
    plain = heun_step(denoiser, x, 600, 300, noise)
    moved = schedule.alpha_bar(300).sqrt() * 0.5
    torch.testing.assert_close(steps[1].x - plain.x, moved.expand_as(x))
