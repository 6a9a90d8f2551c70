"""The exact oracle (method.md §5).

x_0 ~ N(M, V), y = x_0 + n with n ~ N(0, R2). Everything is Gaussian, every guided step affine.
"""

import math

import torch

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guided_denoiser import GuidedDenoiser, Negative
from sdg.diffusion.parametrisation import target

M, V, R2, Y = 0.3, 0.25, 0.25, -0.5
OTHER = -0.1  # mean of a worse denoiser's data
VARIANCE = 1 / (1 / V + 1 / R2)  # of the posterior
MEAN = VARIANCE * (M / V + Y / R2)


class Perfect(torch.nn.Module):
    """E[x_0 | x_t] as a network that predicts x_0."""

    def __init__(self, schedule, mean=M, variance=V):
        super().__init__()
        self.schedule, self.mean, self.variance = schedule, mean, variance

    def forward(self, x, t):
        a = self.schedule.alpha_bar(t)
        return self.mean + a.sqrt() * self.variance * (x - a.sqrt() * self.mean) / (
            a * self.variance + 1 - a
        )


class PerfectOutput(Perfect):
    """The same as a network that predicts in any way, and is given its own family's image."""

    def __init__(self, schedule, prediction, mean=M, variance=V):
        super().__init__(schedule, mean, variance)
        self.prediction = prediction

    def forward(self, seen, t):
        a = self.schedule.alpha_bar(t)
        signal, noise = a.sqrt().to(seen), (1 - a).sqrt().to(seen)
        divisor = {
            "velocity": signal + noise,
            "flow_x0": signal + noise,
            "edm": (noise**2 + (signal / 2) ** 2).sqrt(),
        }.get(self.prediction, 1.0)
        x = seen * divisor
        x0 = super().forward(x, t)
        return target(self.prediction, x0, (x - signal * x0) / noise, signal, noise)


def log_normal(y, mean, variance):
    return -0.5 * ((y - mean) ** 2 / variance + torch.as_tensor(2 * torch.pi * variance).log())


def noise_aware(schedule):
    """log p(y | x_s)."""

    def similarity(x, s):
        a, x = schedule.alpha_bar(s), x.double()
        v = a * V + 1 - a
        return log_normal(
            Y, M + a.sqrt() * V * (x - a.sqrt() * M) / v, V * (1 - a) / v + R2
        ).flatten()

    return similarity


def quality_guided(schedule, prediction, scale):
    """The Gaussian's denoiser, moved away from that of N(OTHER, V): guidance of quality."""
    pair = []
    for mean in (M, OTHER):
        network = PerfectOutput(schedule, prediction, mean)
        pair.append(Denoiser(network, schedule, prediction=prediction, clip=False))
    return GuidedDenoiser(pair[0], [Negative(pair[1], scale)])


def quality_guided_mean(scale):
    """Of what the flow of probability makes with it and log p(y | x_t), γ = 1; Σ is VARIANCE.

    Of z = x/√ᾱ and σ the scores add up to dz/dσ = σ (z − MEAN)/(VARIANCE + σ²)
    − (w − 1) σ (M − OTHER)/(V + σ²), which r = √(VARIANCE + σ²) integrates from σ = ∞ to 0:

        MEAN + (w − 1)(M − OTHER) k (π/2 − arctan k),   k² = VARIANCE/(V − VARIANCE)
    """
    k = (VARIANCE / (V - VARIANCE)) ** 0.5
    return MEAN + (scale - 1) * (M - OTHER) * k * (math.pi / 2 - math.atan(k))


def moments(schedule, step, guide, steps=None, prediction="x0", denoiser=None):
    """Mean and variance of the guided sampler's result, from x_T ~ N(0, 1), without Monte Carlo.

    A `denoiser` may take the place of the Gaussian's own.
    """
    if denoiser is None:
        network = PerfectOutput(schedule, prediction)
        denoiser = Denoiser(network, schedule, prediction=prediction, clip=False)
    # One call gives an affine map whole: f(0, 0) is its offset; ±8 lie far apart, so that the
    # gradient's fp32 rounding counts for nothing.
    x = torch.tensor([8.0, -8.0, 0.0, 0.0], dtype=torch.float64).view(4, 1, 1, 1)
    z = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64).view(4, 1, 1, 1)
    mean, variance = 0.0, 1.0
    with torch.no_grad():
        for t, s in steps or schedule.steps(schedule.T):
            high, low, noisy, offset = (
                step(denoiser, x, t, s, lambda: z, guide).x.flatten().tolist()
            )
            slope, coefficient = (high - low) / 16, noisy - offset
            assert abs((high + low) / 2 - offset) < 1e-5  # affine indeed
            mean, variance = slope * mean + offset, slope**2 * variance + coefficient**2
    return mean, variance
