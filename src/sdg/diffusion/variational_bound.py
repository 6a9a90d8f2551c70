"""L_t, by which a network learns Σ: Nichol & Dhariwal 2021 (arXiv 2102.09672), §3.1."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sdg.diffusion.schedule import CLEAN, Schedule

__all__ = ["Reverse", "less_noisy", "log_likelihood_8bit", "variational_bound"]


class Reverse(NamedTuple):
    """p_θ(x_s | x_t) = N(mean, variance), elementwise."""

    mean: Tensor
    variance: Tensor


def less_noisy(t: Tensor) -> Tensor:
    """The level one below, (B,); the clean image below level 0, where real levels lie too."""
    return (t - 1).clamp(min=CLEAN)


def variational_bound(
    schedule: Schedule, x0: Tensor, x: Tensor, t: Tensor, p: Reverse, latents: bool
) -> Tensor:
    """L_t in bits per dimension, (B,).

    It is KL(q(x_{t−1}|x_t, x_0) ‖ p_θ). For t ≤ 0 it is the likelihood of 8-bit pixels under p_θ,
    and of latents, which are neither rounded nor kept within [-1, 1], of a density,

        −log p_θ(x_0|x_t) = ½ (log 2πΣ + (x_0 − μ_θ)²/Σ)

    DiT's code takes that of 8-bit pixels for latents too.

    Arguments:
        x0: (B, C, H, W).
        x: x_t.
        t: levels, (B,).
        p: p_θ(x_{t−1} | x_t).
        latents: whether x_0 are latents.
    """
    mean, variance = schedule.posterior(x0, x, t, less_noisy(t))
    variance = variance.to(x.dtype).clamp(min=1e-20)
    kl = 0.5 * (
        p.variance.log() - variance.log() + (variance + (mean - p.mean) ** 2) / p.variance - 1
    )
    if latents:
        first = 0.5 * ((2 * math.pi * p.variance).log() + (x0 - p.mean) ** 2 / p.variance)
    else:
        first = -log_likelihood_8bit(x0, p.mean, p.variance.sqrt())
    bits = torch.where((t <= 0).view(-1, 1, 1, 1), first, kl)
    return bits.flatten(1).mean(1) / math.log(2)


def log_likelihood_8bit(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log P(x) of pixels quantised to 256 levels in [-1, 1] under N(mean, std²), elementwise.

    This is eq. 13 of Ho et al. 2020.
    """
    upper, lower = (torch.special.ndtr((x - mean + side / 255) / std) for side in (1, -1))
    upper = torch.where(x > 0.999, 1.0, upper)
    lower = torch.where(x < -0.999, 0.0, lower)
    return (upper - lower).clamp(min=1e-12).log()
