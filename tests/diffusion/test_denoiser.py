"""A network and a schedule become μ, Σ, x̂_0, ε̂ and a loss."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from sdg.diffusion.denoiser import PREDICTIONS, Denoiser
from sdg.diffusion.guide import Prediction
from sdg.diffusion.schedule import Schedule
from sdg.diffusion.variational_bound import log_likelihood_8bit
from sdg.errors import UserError

SCHEDULE = Schedule("cosine", 100)
LEVELS = torch.tensor([0, 1, 40, 99])


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pixels(*shape, seed=0):
    """Images of 8-bit values in [-1, 1], black and white among them."""
    grey = torch.randint(256, shape, generator=torch.Generator().manual_seed(seed))
    grey.view(-1)[:2] = torch.tensor([0, 255])
    return grey.double() / 127.5 - 1


class Says(nn.Module):
    """A network that always gives the same answer."""

    def __init__(self, out):
        super().__init__()
        self.out = nn.Parameter(out)

    def forward(self, x, t):
        return self.out


def truth(prediction, x0, eps, t):
    """What the network should say, by each family's own formula in its own coordinates."""
    a = SCHEDULE.alpha_bar(t)
    sigma, of_data = ((1 - a) / a).sqrt(), 0.5  # of x = x_0 + σ ε, and σ_d
    skip = of_data**2 / (sigma**2 + of_data**2)
    scale = sigma * of_data / (sigma**2 + of_data**2).sqrt()
    return {
        "epsilon": eps,
        "x0": x0,
        "v": a.sqrt() * eps - (1 - a).sqrt() * x0,
        "velocity": eps - x0,
        "flow_x0": x0,
        "edm": (x0 - skip * (x0 + sigma * eps)) / scale,
    }[prediction]


def vlb(denoiser, x0, t, noise):
    """0.001 · T · L_t, as what `learned_range` adds to the mean squared error."""
    out = denoiser(SCHEDULE.q_sample(x0, t, noise), t).output
    simple = (out - truth(denoiser.prediction, x0, noise, t)).square().flatten(1).mean(1)
    return denoiser.loss(x0, t, noise) - simple


def reverse(denoiser, x, t, s):
    x0, weight, _ = denoiser(x, t)
    x0 = x0.clamp(-1, 1) if denoiser.clip else x0
    return denoiser.reverse(Prediction(x0, weight), x, t, s)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_true_target_gives_back_the_image_and_the_noise(prediction):
    x0, eps = normal(2, 4, 3, 2, 2)
    denoiser = Denoiser(Says(truth(prediction, x0, eps, LEVELS)), SCHEDULE, prediction, clip=False)
    x = SCHEDULE.q_sample(x0, LEVELS, eps)
    found_x0 = denoiser(x, LEVELS).x0
    found_eps = SCHEDULE.noise(found_x0, x, LEVELS)
    torch.testing.assert_close(found_x0, x0, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(found_eps, eps, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_of_the_true_target_is_zero_and_of_a_wrong_one_its_square(prediction):
    x0, eps = normal(2, 4, 3, 2, 2)
    target = truth(prediction, x0, eps, LEVELS)
    offset = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    loss = Denoiser(Says(target + offset.view(4, 1, 1, 1)), SCHEDULE, prediction).loss(
        x0, LEVELS, eps
    )
    torch.testing.assert_close(loss, offset**2)


def test_uncapped_error_of_x0_is_the_error_of_v():
    x0, eps, guess = pixels(4, 3, 2, 2), normal(4, 3, 2, 2), normal(4, 3, 2, 2, seed=1)
    a = SCHEDULE.alpha_bar(LEVELS)
    v = (a.sqrt() * SCHEDULE.q_sample(x0, LEVELS, eps) - guess) / (
        1 - a
    ).sqrt()  # which says the same x̂_0
    of_v = Denoiser(Says(v), SCHEDULE, "v").loss(x0, LEVELS, eps)
    torch.testing.assert_close(
        Denoiser(Says(guess), SCHEDULE, "x0", max_weight=1e9).loss(x0, LEVELS, eps), of_v
    )
    capped, plain = (
        Denoiser(Says(guess), SCHEDULE, "x0", max_weight=w).loss(x0, LEVELS, eps)
        for w in (3.0, 1.0)
    )
    torch.testing.assert_close(capped, plain * (1 / (1 - a)).flatten().clamp(max=3.0))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_clipped_image_and_its_noise_still_make_up_x_t(prediction):
    x = 2 * normal(1, 3, 4, 4)
    denoiser = Denoiser(Says(3 * normal(1, 3, 4, 4, seed=1)), SCHEDULE, prediction)
    x0 = denoiser(x, 40).x0.clamp(-1, 1)
    eps = SCHEDULE.noise(x0, x, 40)
    assert x0.abs().max() == 1
    torch.testing.assert_close(SCHEDULE.q_sample(x0, 40, eps), x)


def test_reverse_is_the_posterior_of_the_predicted_image():
    x, out = normal(2, 4, 3, 2, 2)
    for variance, expected in (
        ("fixed_small", SCHEDULE.posterior(x, x, 40, 30)[1]),
        ("fixed_large", SCHEDULE.beta(40, 30)),
    ):
        found = reverse(Denoiser(Says(out), SCHEDULE, "x0", variance, clip=False), x, 40, 30)
        torch.testing.assert_close(found.mean, SCHEDULE.posterior(out, x, 40, 30)[0])
        torch.testing.assert_close(found.variance, expected.expand_as(x))


def test_the_last_step_has_the_large_variance_of_the_step_before():
    x, out = normal(2, 4, 3, 2, 2)
    denoiser = Denoiser(Says(out), SCHEDULE, "x0", "fixed_large")
    prediction = denoiser(x, 0)
    for before, last in ((1, 0), (7, 0), (39, 9)):  # the grid need not end at level 0
        a, b = SCHEDULE.alpha_bar(before), SCHEDULE.alpha_bar(last)
        expected = (1 - a / b) * (1 - b) / (1 - a)
        found = denoiser.reverse(prediction, x, last, -1, before).variance
        torch.testing.assert_close(found, expected.to(x.dtype).expand_as(x))


def test_a_last_step_without_one_before_has_its_own_large_variance():
    x, out = normal(2, 4, 3, 2, 2)
    denoiser = Denoiser(Says(out), SCHEDULE, "x0", "fixed_large")
    found = denoiser.reverse(denoiser(x, 39), x, 39, -1).variance
    expected = 1 - SCHEDULE.alpha_bar(39)
    torch.testing.assert_close(found, expected.to(x.dtype).expand_as(x))


@pytest.mark.parametrize("weight, kind", [(-1.0, "fixed_small"), (1.0, "fixed_large")])
def test_learned_range_reaches_from_small_to_large(weight, kind):
    x, out = normal(2, 4, 3, 2, 2)
    learned = reverse(
        Denoiser(
            Says(torch.cat([out, torch.full_like(out, weight)], 1)),
            SCHEDULE,
            variance="learned_range",
        ),
        x,
        40,
        30,
    )
    fixed = reverse(Denoiser(Says(out), SCHEDULE, variance=kind), x, 40, 30)
    torch.testing.assert_close(learned.variance, fixed.variance)
    torch.testing.assert_close(learned.mean, fixed.mean)


def test_learned_range_interpolates_the_logarithm_element_by_element():
    x, out, weight = normal(3, 1, 3, 2, 2)
    weight = weight.tanh()
    learned = reverse(
        Denoiser(Says(torch.cat([out, weight], 1)), SCHEDULE, variance="learned_range"), x, 40, 39
    )
    small, large = SCHEDULE.posterior(x, x, 40, 39)[1], SCHEDULE.beta(40, 39)
    torch.testing.assert_close(
        learned.variance, large ** ((weight + 1) / 2) * small ** ((1 - weight) / 2)
    )


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
def test_a_level_for_each_image_equals_one_at_a_time(variance):
    x, out = normal(4, 3, 2, 2), normal(4, 6 if variance == "learned_range" else 3, 2, 2, seed=1)
    together = reverse(Denoiser(Says(out), SCHEDULE, variance=variance), x, LEVELS, LEVELS - 1)
    for i, t in enumerate(LEVELS.tolist()):
        alone = reverse(
            Denoiser(Says(out[i : i + 1]), SCHEDULE, variance=variance), x[i : i + 1], t, t - 1
        )
        for one, all_ in zip(alone, together, strict=True):
            torch.testing.assert_close(all_[i : i + 1], one)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_bound_is_the_kl_divergence_of_posterior_and_model(prediction):
    t = torch.tensor([1, 5, 60, 99])
    x0, eps = pixels(4, 3, 2, 2), normal(4, 3, 2, 2)
    out = torch.cat(
        [
            truth(prediction, x0, eps, t) + 0.1 * normal(4, 3, 2, 2, seed=1),
            normal(4, 3, 2, 2, seed=2).tanh(),
        ],
        1,
    )
    denoiser = Denoiser(Says(out), SCHEDULE, prediction, "learned_range", clip=False)
    x = SCHEDULE.q_sample(x0, t, eps)
    mean, variance = SCHEDULE.posterior(x0, x, t, t - 1)
    model = reverse(denoiser, x, t, t - 1)
    kl = kl_divergence(
        Normal(mean, variance.sqrt().expand_as(mean)), Normal(model.mean, model.variance.sqrt())
    )
    expected = 0.001 * SCHEDULE.T * kl.flatten(1).mean(1) / math.log(2)
    torch.testing.assert_close(vlb(denoiser, x0, t, eps), expected, rtol=1e-6, atol=1e-8)


def test_bound_at_the_first_level_is_the_likelihood_of_8_bit_pixels():
    x0, eps, t = pixels(2, 3, 4, 4), normal(2, 3, 4, 4), torch.zeros(2, dtype=torch.long)
    out = torch.cat([eps + 0.1 * normal(2, 3, 4, 4, seed=1), normal(2, 3, 4, 4, seed=2).tanh()], 1)
    denoiser = Denoiser(Says(out), SCHEDULE, variance="learned_range", clip=False)
    model = reverse(denoiser, SCHEDULE.q_sample(x0, t, eps), t, t - 1)
    p = Normal(model.mean, model.variance.sqrt())
    upper = torch.where(x0 == 1, 1.0, p.cdf(x0 + 1 / 255))
    lower = torch.where(x0 == -1, 0.0, p.cdf(x0 - 1 / 255))
    nats = -(upper - lower).clamp(min=1e-12).log().flatten(1).mean(1)
    torch.testing.assert_close(
        vlb(denoiser, x0, t, eps), 0.001 * SCHEDULE.T * nats / math.log(2), rtol=1e-6, atol=1e-8
    )


def test_bound_at_the_first_level_is_the_density_of_latents():
    """They are no 8-bit pixels, and lie beyond [-1, 1] too."""
    x0, eps, t = 3 * normal(2, 4, 4, 4), normal(2, 4, 4, 4), torch.zeros(2, dtype=torch.long)
    out = torch.cat([eps + 0.1 * normal(2, 4, 4, 4, seed=1), normal(2, 4, 4, 4, seed=2).tanh()], 1)
    options = {"variance": "learned_range", "clip": False, "channels": 4}
    denoiser = Denoiser(Says(out), SCHEDULE, **options)
    model = reverse(denoiser, SCHEDULE.q_sample(x0, t, eps), t, t - 1)
    nats = -Normal(model.mean, model.variance.sqrt()).log_prob(x0).flatten(1).mean(1)
    torch.testing.assert_close(
        vlb(denoiser, x0, t, eps), 0.001 * SCHEDULE.T * nats / math.log(2), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("mean", [-1.3, -1.0, 0.0, 0.4, 1.0])
@pytest.mark.parametrize("std", [0.004, 0.1, 1.0])
def test_likelihood_of_the_256_pixel_values_sums_to_one(mean, std):
    values = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    total = (
        log_likelihood_8bit(values, torch.full_like(values, mean), torch.full_like(values, std))
        .exp()
        .sum()
    )
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-9)


@pytest.mark.parametrize("clip", [True, False])
def test_bound_teaches_the_variance_and_leaves_the_mean_alone(clip):
    x0, eps = pixels(4, 3, 2, 2).float(), normal(4, 3, 2, 2).float()
    out = torch.cat([eps + 0.3 * normal(4, 3, 2, 2, seed=1).float(), torch.zeros(4, 3, 2, 2)], 1)
    denoiser = Denoiser(Says(out), SCHEDULE, variance="learned_range", clip=clip)
    denoiser.loss(x0, LEVELS, eps).sum().backward()
    of_mean, of_variance = denoiser.network.out.grad.chunk(2, 1)
    torch.testing.assert_close(
        of_mean, 2 * (out[:, :3] - eps) / 12
    )  # of the mean squared error alone
    assert of_variance.isfinite().all() and (of_variance != 0).flatten(1).any(1).all()


def test_bound_is_least_where_the_variance_is_true():
    # The posterior's own mean and variance: weight −1 is β̃, and no other weight fits better.
    x0, eps, t = pixels(1, 1, 2, 2), normal(1, 1, 2, 2), torch.tensor([40])
    bounds = [
        vlb(
            Denoiser(
                Says(torch.cat([eps, torch.full_like(eps, w)], 1)),
                SCHEDULE,
                variance="learned_range",
            ),
            x0,
            t,
            eps,
        ).item()
        for w in (-1.0, -0.5, 0.5, 1.0)
    ]
    assert abs(bounds[0]) < 1e-9 and bounds == sorted(bounds) and bounds[1] > 1e-6


@pytest.mark.parametrize("variance, channels", [("fixed_small", 3), ("learned_range", 6)])
def test_patches_reach_the_network_as_channels_and_come_back_in_place(variance, channels):
    class Echo(nn.Module):
        def forward(self, x, t):
            assert x.shape == (2, 12, 4, 4)
            assert torch.equal(
                x[:, 1], image[:, 0, ::2, 1::2]
            )  # each channel holds one place of every patch
            return SimpleNamespace(
                sample=torch.cat([x, 2 * x], 1)[:, : 4 * channels]
            )  # as a diffusers model answers

    image = normal(2, 3, 8, 8)
    _, weight, out = Denoiser(Echo(), SCHEDULE, variance=variance, patch=2)(image, 5)
    assert torch.equal(out, image)
    assert weight is None if variance == "fixed_small" else torch.equal(weight, 2 * image)


def test_network_is_told_the_level_of_every_image():
    class Told(nn.Module):
        def forward(self, x, t):
            return t.view(-1, 1, 1, 1) * torch.ones_like(x)

    denoiser, x = Denoiser(Told(), SCHEDULE), normal(4, 1, 2, 2)
    assert torch.equal(denoiser(x, LEVELS).output[:, 0, 0, 0], LEVELS.double())
    assert (denoiser(x, 7).output == 7).all()


def test_a_network_is_told_its_own_familys_time_and_sees_its_own_image():
    """By each family's own formulas, for whole levels, real ones and one a picture."""

    class Sees(nn.Module):
        def forward(self, x, t):
            self.x, self.t = x, t
            return x

    flow, edm = Schedule("flow", 50), Schedule("edm", 50)
    x0, eps = normal(2, 3, 2, 2), normal(2, 3, 2, 2, seed=1)
    for level in (7, 7.5, torch.tensor([7, 40])):
        tau = (torch.as_tensor(level).double() + 1).expand(2) / 50
        for strength in (1.0, 2.0):  # of the flow's noise: z = (1 − τ') x_0 + τ' s ε of the same λ
            denoiser = Denoiser(
                Sees(), flow, "flow_x0", time="signal", noise_scale=strength, time_scale=3
            )
            own = tau / (tau + strength * (1 - tau))  # τ'
            z = (1 - own).view(-1, 1, 1, 1) * x0 + (strength * own).view(-1, 1, 1, 1) * eps
            seen = denoiser(flow.q_sample(x0, torch.as_tensor(level).expand(2), eps), level)
            torch.testing.assert_close(seen.output, z)
            torch.testing.assert_close(denoiser.network.t, 3 * (1 - own))
        denoiser = Denoiser(Sees(), edm, "edm", time="log_sigma", time_scale=0.25)
        first, last = 0.002 ** (1 / 7), 80 ** (1 / 7)
        sigma = (first + (50 * tau - 1) / 49 * (last - first)) ** 7
        x = x0 + sigma.view(-1, 1, 1, 1) * eps
        seen = denoiser(edm.q_sample(x0, torch.as_tensor(level).expand(2), eps), level)
        torch.testing.assert_close(seen.output, x / (sigma**2 + 0.25).sqrt().view(-1, 1, 1, 1))
        torch.testing.assert_close(denoiser.network.t, sigma.log() / 4)


def test_noise_of_another_strength_is_of_flows_that_give_images():
    with pytest.raises(UserError, match="prediction=flow_x0 alone"):
        Denoiser(nn.Identity(), SCHEDULE, "velocity", noise_scale=2.0)


@pytest.mark.parametrize(
    "options", [{"prediction": "epsilom"}, {"variance": "learned"}, {"time": "sigma"}]
)
def test_unknown_parameterisation_is_refused(options):
    with pytest.raises(
        UserError, match="did you mean" if "prediction" in options else "must be one of"
    ):
        Denoiser(nn.Identity(), SCHEDULE, **options)


def test_epsilon_of_a_process_that_ends_in_noise_alone_is_refused():
    with pytest.raises(UserError, match=r"^prediction=epsilon: .* flow .* divides by zero"):
        Denoiser(nn.Identity(), Schedule("flow"), "epsilon")
    with pytest.raises(UserError, match=r"^time=log_sigma: .* is infinite"):
        Denoiser(nn.Identity(), Schedule("flow"), "edm", time="log_sigma")
    for prediction in ("x0", "v", "velocity", "flow_x0"):
        denoiser = Denoiser(Says(normal(2, 3, 4, 4)), Schedule("flow"), prediction)
        assert denoiser(normal(2, 3, 4, 4), 999).x0.isfinite().all()


def test_the_bound_holds_at_real_levels_below_the_first():
    """At t ≤ 0 it is −log p_θ(x_0 | x_t) of 8-bit pixels, with Σ of the step before, in bits."""
    schedule = Schedule("flow", 10)
    out, x0, noise = normal(3, 3, 3, 2, 2)
    weight = torch.ones_like(out)
    network = Says(torch.cat([out, weight], 1))
    denoiser = Denoiser(network, schedule, "x0", "learned_range", clip=False)
    t = torch.tensor([-0.8, -0.3, 0.0])
    found = denoiser.loss(x0, t, noise)
    a = schedule.alpha_bar(t).view(-1)
    large = 1 - a  # β to the clean image; with v = 1 it is Σ
    upper, lower = (
        torch.special.ndtr((x0 - out + side / 255) / large.sqrt().view(-1, 1, 1, 1))
        for side in (1, -1)
    )
    upper, lower = torch.where(x0 > 0.999, 1.0, upper), torch.where(x0 < -0.999, 0.0, lower)
    bits = -(upper - lower).clamp(min=1e-12).log().flatten(1).mean(1) / math.log(2)
    simple = (out - x0).square().flatten(1).mean(1) * (1 / (1 - a)).clamp(max=denoiser.max_weight)
    torch.testing.assert_close(found, (simple + 0.01 * bits).to(found.dtype))
