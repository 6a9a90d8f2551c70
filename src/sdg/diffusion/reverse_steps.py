"""One reverse step of every sampler, as an equation: from x_t to x_s."""

import torch
from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Guide, guide_of_step
from sdg.diffusion.noise import NoiseSource
from sdg.diffusion.sampler import PrevStep, Step, guided_prediction

__all__ = ["ddim_step", "ddpm_step", "dpm_solver_step", "heun_step"]


def ddpm_step(
    denoiser: Denoiser,
    x: Tensor,
    t: float,
    s: float,
    noise: NoiseSource,
    guide: Guide | None = None,
    past: PrevStep | None = None,
) -> Step:
    """The guided ancestral step of Liu et al. 2022 (arXiv 2112.05744, alg. 1).

    Unguided it is the step of Ho et al. 2020 (arXiv 2006.11239, alg. 2):

        x_s = μ_θ(x_t, t) + Σ γ∇sim + Σ^½ z

    What guidance makes of the prediction acts before: the score moves x̂_0, and μ_θ with it; a shift
    is added to x_s, √ᾱ_s times, as in DDIM. The step to s = −1 is not noised, and not guided unless
    guidance asks for it: x_s = x̂_0, or x̂_0 + Σ γ∇sim. There the step before's β̃ stands for the one
    of this step, which is 0, in a learned Σ, and for β in fixed_large; with fixed_small Σ is 0.

    Arguments:
        x: x_t, shape (B, C, H, W).
        t: the level of `x`, 0 … T−1.
        s: the next, less noisy one, −1 … t−1.
        noise: gives z ~ N(0, I), shape of `x`.
        guide: guidance; None is the unguided sampler.
        past: the step before, whose level only Σ of a guided last step needs.

    Returns:
        x_s, and the x̂_0 that it was made from, both shaped as `x`.
    """
    z, guide = noise(), guide_of_step(guide, s)
    prediction, shifted = guided_prediction(denoiser, x, t, s, noise, guide)
    before = None if past is None else past.t
    mean, variance = denoiser.reverse(prediction, x, t, s, before)
    if s < 0 and guide is None:
        return Step(mean, prediction.x0)
    signal = denoiser.schedule.alpha_bar(s, x.device).sqrt().to(x.dtype)
    moved = mean + signal * (shifted - prediction.x0)
    gradient = guide.mean_gradient(mean, x, t, s) if guide is not None else None
    if gradient is not None:
        moved = moved + variance * gradient
    return Step(moved if s < 0 else moved + variance.sqrt() * z, shifted)


def ddim_step(
    denoiser: Denoiser,
    x: Tensor,
    t: float,
    s: float,
    noise: NoiseSource,
    guide: Guide | None = None,
    past: PrevStep | None = None,
    eta: float = 0.0,
) -> Step:
    """The step of DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12).

        μ = √ᾱ_s x̂_0 + √(1−ᾱ_s−Σ) ε̂,   x_s = μ + Σ γ∇sim + Σ^½ z,   Σ = η² β̃

    Guidance's score moves x̂_0 and, with it, ε̂; its shift moves x̂_0 alone. A gradient at the mean
    counts where η > 0. With η = 1 that is DDPM's step with Σ = β̃, and γ = 1 is Bayes' rule. With
    another η fine steps are steered 2η²/(1 + η²) times as much, and γ = (1 + η²)/(2η²) is.

    Arguments:
        eta: η in [0, 1]; 0 is deterministic, 1 has DDPM's noise.
        others, and what is returned: as of `ddpm_step`.
    """
    z = noise()
    (x0, *_), shifted = guided_prediction(denoiser, x, t, s, noise, guide)
    a = denoiser.schedule.alpha_bar(s, x.device)
    variance = eta**2 * denoiser.schedule.posterior_variance(t, s, x.device)
    rest = (1 - a - variance).clamp(min=0)
    signal = a.sqrt().to(x.dtype)
    direction = rest.sqrt().to(x.dtype) * denoiser.schedule.noise(x0, x, t)
    moved = signal * shifted + direction
    if guide is not None and s >= 0 and eta > 0:
        gradient = guide.mean_gradient(signal * x0 + direction, x, t, s)
        if gradient is not None:
            moved = moved + variance.to(x.dtype) * gradient
    return Step(moved + variance.sqrt().to(x.dtype) * z, shifted)


def dpm_solver_step(
    denoiser: Denoiser,
    x: Tensor,
    t: float,
    s: float,
    noise: NoiseSource,
    guide: Guide | None = None,
    past: PrevStep | None = None,
    eta: float = 0.0,
) -> Step:
    """The step of DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, alg. 2 and eq. 15).

    With λ = log(√ᾱ/√(1−ᾱ)), h = λ_s − λ_t, r = (λ_t − λ_past)/h and Σ = η² β̃ it is

        μ   = √(1−ᾱ_s−Σ)/√(1−ᾱ_t) x_t + √ᾱ_s (1 − e^{−k}) [x̂_0 + (x̂_0 − x̂_0,past)/(2r)]
        x_s = μ + Σ γ∇sim + Σ^½ z,    k = h − ½ log(1 − Σ/(1−ᾱ_s))

    With η = 0, k = h, it is their ODE's solver; with η = 1, k = 2h, their SDE's, SDE-DPM-Solver++:
    DDPM's step with x̂_0 extrapolated. Without the extrapolation it is DDIM's with that η.

    The first step and the last, where λ_s is infinite and x_s = x̂_0, are of first order. A shift
    of x̂_0 is no part of what is extrapolated: it is added to the result, √ᾱ_s times, as in the
    other samplers. A gradient at the mean counts where η > 0.

    Arguments:
        noise: with η = 0 not drawn from, but for guidance's own use.
        past: the step before; None makes this one of first order.
        eta: η in [0, 1]; 0 is deterministic, 1 has DDPM's noise.
        others: as of `ddpm_step`.

    Returns:
        x_s, and the x̂_0 to extrapolate from at the next step.
    """
    z = noise() if eta > 0 else None
    (x0, *_), shifted = guided_prediction(denoiser, x, t, s, noise, guide)
    if s < 0:
        return Step(shifted, x0)

    def half_log_snr(level: float) -> Tensor:
        a = denoiser.schedule.alpha_bar(level, x.device)
        return (a.log() - (1 - a).log()) / 2

    a_t, a_s = (denoiser.schedule.alpha_bar(level, x.device) for level in (t, s))
    h, ahead = half_log_snr(s) - half_log_snr(t), x0
    if past is not None:
        r = (half_log_snr(t) - half_log_snr(past.t)) / h
        ahead = x0 + (x0 - past.x0) / (2 * r).to(x.dtype)
    variance = eta**2 * denoiser.schedule.posterior_variance(t, s, x.device)
    kept = (1 - variance / (1 - a_s)).clamp(min=0)
    decay, k = ((1 - a_s) / (1 - a_t)).sqrt() * kept.sqrt(), h - kept.log() / 2
    mean = decay.to(x.dtype) * x - (a_s.sqrt() * torch.expm1(-k)).to(x.dtype) * ahead
    moved = mean + a_s.sqrt().to(x.dtype) * (shifted - x0)
    if z is None:
        return Step(moved, x0)
    gradient = guide.mean_gradient(mean, x, t, s) if guide is not None else None
    if gradient is not None:
        moved = moved + variance.to(x.dtype) * gradient
    return Step(moved + variance.sqrt().to(x.dtype) * z, x0)


def heun_step(
    denoiser: Denoiser,
    x: Tensor,
    t: float,
    s: float,
    noise: NoiseSource,
    guide: Guide | None = None,
    past: PrevStep | None = None,
) -> Step:
    """The deterministic step of second order of Karras et al. 2022 (arXiv 2206.00364, alg. 1).

    With σ = √(1−ᾱ)/√ᾱ the flow of probability is d(x/√ᾱ)/dσ = ε̂ (Song et al. 2021), whatever the
    family. DDIM's step gives x'_s, a second call there ε̂'_s, and

        x_s = x'_s + √ᾱ_s (σ_s − σ_t) (ε̂'_s − ε̂_t)/2

    The step to the image, and the one from noise alone, where σ_t is infinite, are DDIM's. A shift
    of x̂_0 takes no part in either ε̂: it is added to the result, √ᾱ_s times, as in the others.

    A network of `flow_x0` was published with Heun's method along the flow's own time instead
    (Li & He 2025, arXiv 2511.13720), in which the step from noise alone is of second order too. Of
    z = x/d = τ x_0 + (1 − τ) c ε, d = √ᾱ + √(1−ᾱ)/c, with c the strength of its noise, it is

        x_s = x'_s + d_s (τ_s − τ_t) (v̂'_s − v̂_t)/2,   v̂ = dz/dτ = x̂_0 − c ε̂,   τ = √ᾱ/d

    Arguments:
        noise: not drawn from, but for guidance's own use.
        past: not used.
        others, and what is returned: as of `ddpm_step`.
    """
    (x0, *_), shifted = guided_prediction(denoiser, x, t, s, noise, guide)
    schedule, along_flow = denoiser.schedule, denoiser.prediction == "flow_x0"
    a_t, a_s = schedule.alpha_bar(t, x.device), schedule.alpha_bar(s, x.device)
    signal, epsilon = a_s.sqrt().to(x.dtype), schedule.noise(x0, x, t)
    x_s = signal * x0 + (1 - a_s).sqrt().to(x.dtype) * epsilon
    moved = signal * (shifted - x0)
    if s < 0 or (a_t == 0 and not along_flow):
        return Step(x_s + moved, shifted)
    (ahead, *_), _ = guided_prediction(denoiser, x_s, s, s, noise, guide)
    turn = schedule.noise(ahead, x_s, s) - epsilon
    if along_flow:
        scale = denoiser.noise_scale
        d_t, d_s = (a.sqrt() + (1 - a).sqrt() / scale for a in (a_t, a_s))
        between = (a_s.sqrt() / d_s - a_t.sqrt() / d_t) * d_s / 2
        turn = ahead - x0 - scale * turn
    else:
        between = (((1 - a_s) / a_s).sqrt() - ((1 - a_t) / a_t).sqrt()) * a_s.sqrt() / 2
    return Step(x_s + between.to(x.dtype) * turn + moved, shifted)
