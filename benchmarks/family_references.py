"""Samplers of other people's: diffusers' schedulers, and the papers' algorithms written out.

Each gives the sample that it makes of the same noise, in the coordinates of `sdg.diffusion`, where
an image of the last step is itself. They call a network that is given, and nothing of this project.
"""

import math
from collections.abc import Callable, Sequence
from unittest.mock import patch

import torch
from diffusers.schedulers import scheduling_ddpm
from torch import Tensor

Network = Callable[..., Tensor]
Draw = Callable[..., Tensor]

SIGMA_LOW, SIGMA_HIGH, RHO, SIGMA_DATA = 0.002, 80.0, 7.0, 0.5


def by_scheduler(scheduler, model: Network, draw: Draw, steps: int) -> Tensor:
    """The loop of diffusers' pipelines with one of its schedulers.

    Arguments:
        model: from what `scale_model_input` gives and a time to what `step` takes.
    """
    if hasattr(scheduler, "alphas_cumprod"):  # in float64: its own 1 − ᾱ is off by 3e-4 near t = 0
        scheduler.alphas_cumprod = torch.cumprod(1 - scheduler.betas.double(), 0)
    scheduler.set_timesteps(steps)
    x = draw() * scheduler.init_noise_sigma if hasattr(scheduler, "init_noise_sigma") else draw()
    with patch.object(scheduling_ddpm, "randn_tensor", lambda *_, **__: draw()):
        for t in scheduler.timesteps:
            seen = x
            if hasattr(scheduler, "scale_model_input"):
                seen = scheduler.scale_model_input(x, t)
            x = scheduler.step(model(seen, t), t, x).prev_sample
    return x


def karras_sigmas(steps: int) -> list[float]:
    """Karras et al. 2022, eq. 5, and 0 behind."""
    high, low = SIGMA_HIGH ** (1 / RHO), SIGMA_LOW ** (1 / RHO)
    return [(high + i / (steps - 1) * (low - high)) ** RHO for i in range(steps)] + [0.0]


def preconditioned(network: Network, x: Tensor, sigma: float) -> Tensor:
    """D(x; σ) = c_skip x + c_out F(c_in x; ¼ ln σ), Karras et al. 2022, table 1."""
    root = (sigma**2 + SIGMA_DATA**2) ** 0.5
    noise = torch.full((len(x),), sigma, dtype=x.dtype).log() / 4
    skipped = SIGMA_DATA**2 / root**2 * x
    return skipped + sigma * SIGMA_DATA / root * network(x / root, noise)


def edm_algorithm_1(denoise: Callable[[Tensor, float], Tensor], draw: Draw, steps: int) -> Tensor:
    """Karras et al. 2022, algorithm 1: Heun's method in σ, the last step Euler's.

    Arguments:
        denoise: D(x; σ).
    """
    sigmas = karras_sigmas(steps)
    # Here x_T is N(0, 1) of x/√(1 + σ²), there x is N(0, σ²): the same up to 8e-5 of the noise.
    x = draw() * (1 + sigmas[0] ** 2) ** 0.5
    for sigma, then in zip(sigmas[:-1], sigmas[1:], strict=True):
        slope = (x - denoise(x, sigma)) / sigma
        ahead = x + (then - sigma) * slope
        if then > 0:
            slope = (slope + (ahead - denoise(ahead, then)) / then) / 2
        x = x + (then - sigma) * slope
    return x


def flow_euler(velocity: Callable[[Tensor, float], Tensor], draw: Draw, steps: int) -> Tensor:
    """Liu et al. 2022 (arXiv 2209.03003): x ← x + (τ' − τ) u(x, τ), u = ε − x_0, τ from 1 to 0.

    The grid is that of `linspace` of 1000 levels where steps − 1 divides 999.
    """
    times = [*torch.linspace(1, 0.001, steps, dtype=torch.float64).tolist(), 0.0]
    x = draw()
    for tau, then in zip(times[:-1], times[1:], strict=True):
        x = x + (then - tau) * velocity(x, tau)
    return x


def flow_posterior(velocity: Callable[[Tensor, float], Tensor], draw: Draw, steps: int) -> Tensor:
    """Song et al. 2021 (arXiv 2010.02502) with η = 1 in a flow's own α = 1 − τ and σ = τ.

        σ̂² = σ_s²/σ_t² (σ_t² − α_t²/α_s² σ_s²),   x_s = α_s x̂_0 + √(σ_s² − σ̂²) ε̂ + σ̂ z

    The grid is that of `flow_euler`.
    """
    times = [*torch.linspace(1, 0.001, steps, dtype=torch.float64).tolist(), 0.0]
    x = draw()
    for t, s in zip(times[:-1], times[1:], strict=True):
        u, z = velocity(x, t), draw()
        clean, noise = x - t * u, x + (1 - t) * u
        variance = (s / t) ** 2 * (t**2 - ((1 - t) / (1 - s) * s) ** 2)
        rest = max(0.0, s**2 - variance) ** 0.5
        x = (1 - s) * clean + rest * noise + variance**0.5 * z
    return x


def sit_euler(velocity: Network, draw: Draw, steps: int) -> Tensor:
    """Ma et al. 2024 (arXiv 2401.08740): its ODE, dx = v(x, t) dt, t from noise at 0 to 1."""
    times = [*(1 - torch.linspace(1, 0.001, steps, dtype=torch.float64)).tolist(), 1.0]
    x = draw()
    for t, then in zip(times[:-1], times[1:], strict=True):
        x = x + (then - t) * velocity(x, torch.full((len(x),), t, dtype=x.dtype))
    return x


def jit_sample(image: Network, draw: Draw, times: Sequence[float], heun: bool) -> Tensor:
    """Li & He 2025 (arXiv 2511.13720): dz = v dt, v = (x̂_0 − z)/(1 − t), t from noise at 0 to 1.

    Arguments:
        times: t of each step.
        heun: Heun's method, whose last step is Euler's; else Euler's.
    """

    def velocity(z: Tensor, t: float) -> Tensor:
        return (image(z, torch.full((len(z),), t, dtype=z.dtype)) - z) / (1 - t)

    z = draw()
    for t, then in zip(times, [*times[1:], 1.0], strict=True):
        slope = velocity(z, t)
        ahead = z + (then - t) * slope
        if heun and then < 1:
            slope = (slope + velocity(ahead, then)) / 2
        z = z + (then - t) * slope
    return z


def v_diffusion(
    velocity: Callable[[Tensor, float], Tensor], draw: Draw, times: Sequence[float], eta: float
) -> Tensor:
    """v-diffusion's loop: x̂_0 = α x − σ v and ε̂ = σ x + α v, then Song et al. 2021 with η.

    Arguments:
        velocity: v(x, φ), α = cos(π φ/2), σ = sin(π φ/2).
        times: φ of each step; the last one gives x̂_0.
    """
    x = draw()
    for phi, then in zip(times, [*times[1:], None], strict=True):
        alpha, sigma = cosine_and_sine(phi)
        v, z = velocity(x, phi), draw()
        clean, noise = alpha * x - sigma * v, sigma * x + alpha * v
        if then is None:
            return clean
        less, rest = cosine_and_sine(then)
        new = eta * rest / sigma * (1 - (alpha / less) ** 2) ** 0.5
        x = less * clean + (rest**2 - new**2) ** 0.5 * noise + new * z
    raise ValueError("no times")


def cosine_and_sine(phi: float) -> tuple[float, float]:
    return math.cos(math.pi * phi / 2), math.sin(math.pi * phi / 2)
