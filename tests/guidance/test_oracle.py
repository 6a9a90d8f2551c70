"""The claim of the project in closed form (method.md §5): everything Gaussian, every guided step affine, no Monte Carlo."""

from functools import cache

import pytest
import torch
from torch import nn

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.samplers import DDIM, DDPM, ddim_step, ddpm_step
from sdg.diffusion.schedule import Schedule
from sdg.guidance.semantic import SemanticGuidance

M, V, R2, Y = 0.3, 0.25, 0.25, -0.5  # x_0 ~ N(M, V), y = x_0 + n, n ~ N(0, R2)
VARIANCE = 1 / (1 / V + 1 / R2)
MEAN = VARIANCE * (M / V + Y / R2)


class PerfectNoise(nn.Module):
    """E[ε | x_t]."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x, t):
        a = self.schedule.alpha_bar(t)
        return (1 - a).sqrt() * (x - a.sqrt() * M) / (a * V + 1 - a)


def log_normal(y, mean, variance):
    return -0.5 * ((y - mean) ** 2 / variance + torch.as_tensor(2 * torch.pi * variance).log())


def noise_aware(schedule):
    """log p(y | x_s)."""
    def similarity(x, s):
        a, x = schedule.alpha_bar(s), x.double()
        v = a * V + 1 - a
        return log_normal(Y, M + a.sqrt() * V * (x - a.sqrt() * M) / v, V * (1 - a) / v + R2).flatten()
    return similarity


def clean(x, s):
    """log N(y; x, r²): the noise is taken for image."""
    return log_normal(Y, x.double(), R2).flatten()


def moments(schedule, step, similarity, gradient_at):
    """Mean and variance of the guided sampler's result, from x_T ~ N(0, 1)."""
    denoiser = Denoiser(PerfectNoise(schedule), schedule, clip=False)
    guide = SemanticGuidance(gamma=1.0, gradient_at=gradient_at).guide(similarity, schedule, DDIM(1) if step is ddim_step else DDPM(1))
    # One call gives an affine map whole: f(0, 0) is its offset; ±8 lie far apart, so that the gradient's fp32 rounding counts for nothing.
    x = torch.tensor([8.0, -8.0, 0.0, 0.0], dtype=torch.float64).view(4, 1, 1, 1)
    z = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64).view(4, 1, 1, 1)
    mean, variance = 0.0, 1.0
    with torch.no_grad():
        for t, s in schedule.steps(schedule.T):
            high, low, noisy, offset = step(denoiser, x, t, s, lambda: z, guide).x.flatten().tolist()
            slope, coefficient = (high - low) / 16, noisy - offset
            assert abs((high + low) / 2 - offset) < 1e-5  # affine indeed
            mean, variance = slope * mean + offset, slope**2 * variance + coefficient**2
    return mean, variance


@cache
def errors(T, step=ddpm_step, gradient_at="mean"):
    """Of the mean, in posterior standard deviations, and of the variance, as a fraction of the posterior's."""
    schedule = Schedule("linear", T)
    mean, variance = moments(schedule, step, noise_aware(schedule), gradient_at)
    return abs(mean - MEAN) / VARIANCE**0.5, abs(variance / VARIANCE - 1)


def test_perfect_similarity_gives_the_gradient_of_log_p_of_y():
    schedule, s = Schedule("linear", 1000), 300
    a, x = schedule.alpha_bar(s), torch.tensor([-1.0, 0.2, 2.0]).view(3, 1, 1, 1)
    gain = a.sqrt() * V / (a * V + 1 - a)
    spread = V * (1 - a) / (a * V + 1 - a) + R2
    expected = gain * (Y - M - gain * (x - a.sqrt() * M)) / spread
    guide = SemanticGuidance(gamma=1.0).guide(noise_aware(schedule), schedule, DDPM(1))
    torch.testing.assert_close(guide.push(x, None, s + 1, s), expected.float())


def test_guided_sampling_is_the_posterior():
    of_mean, of_variance = errors(1000)
    assert of_mean < 0.02 and of_variance < 0.02


def test_four_times_the_steps_are_at_least_three_times_closer():
    (coarse_mean, coarse_variance), (fine_mean, fine_variance) = errors(1000), errors(4000)
    assert fine_mean < coarse_mean / 3 and fine_variance < coarse_variance / 3


def test_gradient_told_the_means_own_level_tends_to_the_posterior_too():
    of_mean, of_variance = errors(1000, ddpm_step, "mean_own_level")
    assert of_mean < 0.02 and of_variance < 0.02


@pytest.mark.parametrize("step", [ddpm_step, ddim_step])
def test_gradient_at_x_t_tends_to_the_posterior_too(step):
    of_mean, of_variance = errors(1000, step, "x_t")
    assert of_mean < 0.02 and of_variance < 0.02


def test_clean_similarity_misses_the_posterior():
    _, variance = moments(Schedule("linear", 1000), ddpm_step, clean, "mean")
    assert 0.5 < variance / VARIANCE < 0.7  # method.md §5 computed 0.58
