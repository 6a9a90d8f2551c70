"""One reverse step each, as a function of (x_t, t, s, noise), with a place where guidance enters."""

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError, integer, number

__all__ = ["DDIM", "DDPM", "Guidance", "Noise", "ddim_step", "ddpm_step", "sample"]


class Guidance(Protocol):
    """γ∇sim for a step t → s; `mean` is μ_θ(x_t, t), or None where the sampler has no Σ of its own."""

    def __call__(self, x_t: Tensor, t: int, mean: Tensor | None, s: int) -> Tensor: ...


class Noise:
    """Standard normal draws, every sample from a generator of its own: no sample depends on which others share its batch.

    The generators live on the CPU, whose stream is the same on every machine and for every device.

    Arguments:
        seeds: one integer per sample.
        shape: of one sample, (C, H, W).
    """

    def __init__(self, seeds: Iterable[int], shape: tuple[int, ...], device="cpu"):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.shape, self.device = shape, device

    def __call__(self) -> Tensor:
        """The next draw, shape (B, C, H, W)."""
        return torch.stack([torch.randn(self.shape, generator=g) for g in self.generators]).to(self.device)


def ddpm_step(denoiser: Denoiser, x: Tensor, t: int, s: int, noise: Tensor, guide: Guidance | None = None) -> Tensor:
    """x_s = μ_θ(x_t, t) + Σ γ∇sim + Σ^½ z, the guided ancestral step; the step to s = −1 is neither guided nor noised.

    Arguments:
        x: x_t, shape (B, C, H, W).
        noise: z ~ N(0, I), shape of `x`.
        guide: γ∇sim; None is the unguided sampler.
    """
    mean, variance, _ = denoiser.reverse(x, t, s)
    if s < 0:
        return mean
    if guide is not None:
        mean = mean + variance * guide(x, t, mean, s)
    return mean + variance.sqrt() * noise


def ddim_step(denoiser: Denoiser, x: Tensor, t: int, s: int, noise: Tensor, guide: Guidance | None = None, eta: float = 0.0) -> Tensor:
    """x_s = √ᾱ_s x̂_0 + √(1−ᾱ_s−σ²) ε̂ + σ z with σ = η √β̃ (Song et al. 2021, arXiv 2010.02502, eq. 12).

    Guidance enters the score: ε̂ = ε_θ − √(1−ᾱ_t) γ∇sim(x_t), except in the step to s = −1.
    """
    score = guide(x, t, None, s) if guide is not None and s >= 0 else None
    x0, eps = denoiser.predict(x, t, score)
    a = denoiser.schedule.alpha_bar(s, x.device)
    variance = eta**2 * denoiser.schedule.posterior(x0, x, t, s)[1]
    return (a.sqrt().to(x.dtype) * x0 + (1 - a - variance).clamp(min=0).sqrt().to(x.dtype) * eps
            + variance.sqrt().to(x.dtype) * noise)


class DDPM:
    """Ancestral sampling on a respaced grid."""

    has_variance = True

    def __init__(self, steps: int = 100, spacing: str = "linspace"):
        self.steps, self.spacing = integer("sampler.steps", steps, 1), spacing

    step = staticmethod(ddpm_step)


class DDIM:
    """DDIM on a respaced grid; η = 0 is deterministic, η = 1 has DDPM's noise."""

    has_variance = False

    def __init__(self, steps: int = 50, spacing: str = "linspace", eta: float = 0.0):
        self.steps, self.spacing, self.eta = integer("sampler.steps", steps, 1), spacing, number("sampler.eta", eta, 0, 1)

    def step(self, denoiser, x, t, s, noise, guide=None):
        return ddim_step(denoiser, x, t, s, noise, guide, self.eta)


@torch.no_grad()
def sample(denoiser: Denoiser, sampler, noise: Noise, guide: Guidance | None = None, recurrence: int = 1,
           on_step: Callable[[int], None] = lambda step: None) -> Tensor:
    """Runs the whole reverse process from x_T ~ N(0, I).

    Arguments:
        sampler: one of this module's, with `steps`, `spacing` and `step`.
        noise: every sample's own source.
        guide: γ∇sim, or None.
        recurrence: R; each guided step is taken R times, with q(x_t | x_s) between (Lugmayr et al. 2022, arXiv 2201.09865).
        on_step: told how many steps are done.

    Returns:
        images in [-1, 1], shape (B, C, H, W).

    Raises:
        UserError: the samples are no longer finite, as with a γ that is far too large.
    """
    integer("guidance.recurrence", recurrence, 1)
    x = noise()
    for done, (t, s) in enumerate(denoiser.schedule.steps(sampler.steps, sampler.spacing), 1):
        repeats = recurrence if guide is not None and s >= 0 else 1
        for repeat in range(repeats):
            x_s = sampler.step(denoiser, x, t, s, noise(), guide)
            if repeat + 1 < repeats:
                x = denoiser.schedule.renoise(x_s, s, t, noise())
        x = x_s
        if not x.isfinite().all():
            raise UserError(f"the samples overflowed at step {done} of {sampler.steps}; lower guidance.gamma.")
        on_step(done)
    return x.clamp(-1, 1)
