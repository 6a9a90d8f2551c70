"""Every family is one process: the levels' λ, and the families' own samplers, by their papers."""

import math

import pytest
import torch
from gaussian import M, Perfect, V
from v_diffusion import published_time

from sdg.diffusion.clock import CLOCKS
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.parametrisation import (
    SIGMA_DATA,
    TIMES,
    alpha_bar_of_time,
    coefficients,
    time_of,
)
from sdg.diffusion.samplers import ddim_step, ddpm_step, heun_step
from sdg.diffusion.schedule import Schedule

FAMILIES = ("linear", "cosine", "linear_continuous", "cosine_spliced", "flow", "edm")


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_level_is_found_again_by_its_alpha_bar(kind):
    clock = CLOCKS[kind](1000)
    t = torch.tensor([0.0, 0.25, 1.0, 17.5, 400.125, 998.0, 998.75], dtype=torch.float64)
    torch.testing.assert_close(clock.level(clock.alpha_bar(t)), t, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_real_levels_agree_with_whole_ones_and_fall_between_them(kind):
    schedule = Schedule(kind, 100)
    whole = schedule.alpha_bar(torch.arange(100)).flatten()
    real = schedule.alpha_bar(torch.arange(100, dtype=torch.float64)).flatten()
    torch.testing.assert_close(real, whole, rtol=1e-9, atol=1e-12)
    between = schedule.alpha_bar(torch.arange(99) + 0.5).flatten()
    assert (between < whole[:-1]).all() and (between > whole[1:]).all()
    assert schedule.alpha_bar(3.5) == between[3]


def test_flow_and_edm_have_their_papers_signal_and_noise():
    tau = (torch.arange(1000, dtype=torch.float64) + 1) / 1000
    flow = Schedule("flow").alpha_bar(torch.arange(1000)).flatten()
    torch.testing.assert_close(flow, (1 - tau) ** 2 / ((1 - tau) ** 2 + tau**2))
    ramp = torch.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 1000, dtype=torch.float64)
    edm = Schedule("edm").alpha_bar(torch.arange(1000)).flatten()
    torch.testing.assert_close(edm.flip(0), 1 / (1 + ramp**14))


@pytest.mark.parametrize("kind, ported", [("linear_continuous", True), ("cosine_spliced", False)])
def test_the_continuous_ones_have_v_diffusions_grids(kind, ported):
    angles = [published_time((level + 1) / 1000, ported) for level in range(1000)]
    expected = torch.tensor([math.cos(math.pi * phi / 2) ** 2 for phi in angles]).double()
    found = Schedule(kind).alpha_bar(torch.arange(1000)).flatten()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("time", [time for time in TIMES if time != "level"])
def test_what_a_network_is_told_gives_its_alpha_bar_back(time):
    alpha_bar = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    told = time_of(time, alpha_bar.sqrt(), (1 - alpha_bar).sqrt())
    torch.testing.assert_close(alpha_bar_of_time(time, told), alpha_bar, rtol=1e-12, atol=0)


def test_training_draws_the_levels_of_each_paper():
    generator = torch.Generator().manual_seed(0)
    a = Schedule("edm").clock.alpha_bar(CLOCKS["edm"](1000).draw(100_000, generator))
    log_sigma = ((1 - a) / a).log() / 2
    assert abs(log_sigma.mean() + 1.2) < 0.02 and abs(log_sigma.std() - 1.2) < 0.02
    doubled = CLOCKS["edm"](1000).draw(100_000, generator, sigma_data=1.0)
    a = Schedule("edm").clock.alpha_bar(doubled)
    assert abs((((1 - a) / a).log() / 2).mean() + 1.2 - math.log(2)) < 0.02
    tau = (CLOCKS["flow"](1000).draw(100_000, generator) + 1) / 1000
    assert abs(torch.logit(tau).mean()) < 0.02 and abs(torch.logit(tau).std() - 1) < 0.02


class Network(torch.nn.Module):
    """Something smooth of the image and the level; keeps what it is given."""

    def forward(self, x, t):
        self.seen = x
        return torch.sin(2 * x + t.view(-1, 1, 1, 1).to(x.dtype) / 700)


def run(denoiser, steps, x, step=ddim_step):
    zero = torch.zeros_like(x)
    for t, s in steps:
        x = step(denoiser, x, t, s, lambda: zero).x
    return x


@pytest.mark.parametrize("spacing", ["linspace", "karras", "log_snr"])
def test_rectified_flow_by_ddim_is_eulers_method_in_its_own_time(spacing):
    schedule, network = Schedule("flow"), Network()
    denoiser = Denoiser(network, schedule, "velocity", clip=False)
    steps, z = schedule.steps(12, spacing), normal(2, 3, 4, 4)
    own = z.clone()
    for t, s in steps:
        tau, then = (t + 1) / 1000, (s + 1) / 1000
        own = own + (then - tau) * network(own, torch.full((2,), t))
    torch.testing.assert_close(run(denoiser, steps, z), own, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spacing", ["linspace", "karras", "log_snr"])
@pytest.mark.parametrize("heun", [False, True])
@pytest.mark.parametrize("sd", [SIGMA_DATA, 1.0])
def test_edm_by_ddim_or_heun_is_algorithm_1_of_its_paper(spacing, heun, sd):
    schedule, network = Schedule("edm"), Network()
    denoiser = Denoiser(network, schedule, "edm", clip=False, sigma_data=sd)
    steps, z = schedule.steps(12, spacing), normal(2, 3, 4, 4)
    sigmas = [float(((1 - schedule.alpha_bar(t)) / schedule.alpha_bar(t)).sqrt()) for t, _ in steps]

    def slope(own, sigma, t):
        out = network(own / (sigma**2 + sd**2) ** 0.5, torch.full((2,), t))
        clean = sd**2 / (sigma**2 + sd**2) * own + sigma * sd / (sigma**2 + sd**2) ** 0.5 * out
        return (own - clean) / sigma

    own = z * (1 + sigmas[0] ** 2) ** 0.5
    for (t, s), sigma, then in zip(steps, sigmas, [*sigmas[1:], 0.0], strict=True):
        here = slope(own, sigma, t)
        ahead = own + (then - sigma) * here
        if heun and then:
            here = (here + slope(ahead, then, s)) / 2
        own = own + (then - sigma) * here
    ours = run(denoiser, steps, z, heun_step if heun else ddim_step)
    torch.testing.assert_close(ours, own, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spacing", ["trailing", "log_snr"])
@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_heun_of_a_network_of_a_flows_image_goes_along_the_flows_own_time(spacing, strength):
    """dz/dt = (x̂_0 − z)/(1 − t) of z = t x_0 + (1 − t) c ε, from noise alone at t = 0."""
    schedule, network = Schedule("flow"), Network()
    denoiser = Denoiser(
        network, schedule, "flow_x0", clip=False, time="signal", noise_scale=strength
    )
    steps, x = schedule.steps(10, spacing), normal(2, 3, 4, 4)
    ratios = [float(((1 - schedule.alpha_bar(t)) / schedule.alpha_bar(t)).sqrt()) for t, _ in steps]
    times = [1 / (1 + ratio / strength) for ratio in ratios]

    def velocity(z, t):
        return (network(z, torch.full((2,), t, dtype=z.dtype)) - z) / (1 - t)

    z = strength * x
    for t, then in zip(times, [*times[1:], 1.0], strict=True):
        slope = velocity(z, t)
        if then < 1:
            slope = (slope + velocity(z + (then - t) * slope, then)) / 2
        z = z + (then - t) * slope
    torch.testing.assert_close(run(denoiser, steps, x, heun_step), z, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["edm", "flow"])
def test_the_step_with_noise_is_the_papers_for_any_alpha_and_sigma(kind):
    """σ̂² = η² σ_s²/σ_t² (σ_t² − α_t²/α_s² σ_s²), η = 1, in the family's own coordinates."""
    schedule, network, t, s = Schedule(kind), Network(), 700.5, 640.25
    denoiser = Denoiser(network, schedule, "x0", clip=False)
    x, z = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    step = ddpm_step(denoiser, x, t, s, lambda: z)
    ratio = [float(((1 - schedule.alpha_bar(u)) / schedule.alpha_bar(u)).sqrt()) for u in (t, s)]
    alpha = [1 / (1 + r) if kind == "flow" else 1.0 for r in ratio]
    sigma = [r * a for r, a in zip(ratio, alpha, strict=True)]
    length = [(a**2 + b**2) ** 0.5 for a, b in zip(alpha, sigma, strict=True)]
    variance = (sigma[1] / sigma[0]) ** 2 * (sigma[0] ** 2 - (alpha[0] / alpha[1] * sigma[1]) ** 2)
    noise = (x * length[0] - alpha[0] * step.x0) / sigma[0]
    mean = alpha[1] * step.x0 + (sigma[1] ** 2 - variance) ** 0.5 * noise
    torch.testing.assert_close(step.x * length[1], mean + variance**0.5 * z, rtol=1e-8, atol=1e-8)


class Zero(torch.nn.Module):
    """F = 0."""

    def forward(self, x, t):
        return torch.zeros_like(x)


@pytest.mark.parametrize("sd", [SIGMA_DATA, 1.0, 3.0])
def test_the_network_of_edm_has_nothing_to_do_for_a_gaussian_of_its_deviation(sd):
    """E[x_0 | x] = a σ_d² x/(a² σ_d² + n²) of x_0 ~ N(0, σ_d²): F = 0 gives it, with the loss 1."""
    schedule = Schedule("edm")
    denoiser = Denoiser(Zero(), schedule, "edm", clip=False, sigma_data=sd)
    x = normal(1, 1, 2, 2)
    for t in (0, 300.5, 999):
        a = schedule.alpha_bar(t).item()
        expected = a**0.5 * sd**2 * x / (a * sd**2 + 1 - a)
        torch.testing.assert_close(denoiser(x, t).x0, expected, rtol=1e-10, atol=1e-12)
    x0, noise = sd * normal(500, 1, 8, 8, seed=1), normal(500, 1, 8, 8, seed=2)
    loss = denoiser.loss(x0, torch.arange(0, 1000, 2), noise)
    assert loss.mean().item() == pytest.approx(1, abs=0.02)  # of 32000 numbers, 0.8 % a deviation


def test_edm_of_unit_deviation_is_minus_v():
    a, n = torch.tensor(0.6).double(), torch.tensor(0.8).double()
    edm, v = coefficients("edm", a, n, 1.0), coefficients("v", a, n)
    assert edm.of_x / edm.divisor == pytest.approx(float(v.of_x / v.divisor))
    assert edm.of_output / edm.divisor == pytest.approx(float(-v.of_output / v.divisor))


def variance_of_samples(kind, spacing, count):
    """Of what DDPM's steps make of a Gaussian, propagated exactly; the mean is asserted."""
    schedule = Schedule(kind, 1000)
    denoiser = Denoiser(Perfect(schedule), schedule, "x0", clip=False)
    x = torch.tensor([8.0, -8.0, 0.0, 0.0], dtype=torch.float64).view(4, 1, 1, 1)
    z = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64).view(4, 1, 1, 1)
    mean, variance = 0.0, 1.0
    for t, s in schedule.steps(count, spacing):
        high, low, noisy, offset = ddpm_step(denoiser, x, t, s, lambda: z).x.flatten().tolist()
        slope = (high - low) / 16
        mean, variance = slope * mean + offset, slope**2 * variance + (noisy - offset) ** 2
    assert abs(mean - M) < 1e-3
    return variance


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("spacing", ["karras", "log_snr"])
def test_a_perfect_models_samples_tend_to_the_data_whatever_the_family(kind, spacing):
    coarse, fine = (abs(variance_of_samples(kind, spacing, n) / V - 1) for n in (200, 800))
    assert fine < 0.04 and coarse > 3.5 * fine
