"""The alternatives that need no noise-aware encoder.

A clean one looks at x̂_0(x_t), which the denoiser predicts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sdg.diffusion.guide import GuidanceOutput, Predict
from sdg.diffusion.schedule import CLEAN
from sdg.errors import UserError, integer, number
from sdg.guidance.guidance import Guidance, gradient, through_denoiser

__all__ = ["DPS", "FreeDoM", "LGD", "MPGD", "TFG", "Universal"]


class TrainingFree(Guidance):
    """The formula that every training-free method here is a case of, or changes in one line.

    Training-free guidance unites them so (Ye et al. 2024, arXiv 2409.15761, alg. 1):

        F(x) = log 1/n Σ_i exp sim(x + σ_t δ_i, y),   δ_i ~ N(0, I),   σ_t = σ √(1−ᾱ_t)
        score = γ_t ρ ∇_{x_t} F(x̂_0(x_t))
        shift = Δ_m,   Δ_0 = 0,   Δ_{i+1} = Δ_i + γ_t μ (1−ᾱ_t) ∇F(x̂_0 + Δ_i)

    The score's gradient goes through the denoiser, the shift's does not. The score is added to the
    model's, the shift to x̂_0 while ε̂ stays; a guided step is taken R times. In a DDPM step the
    paper's step sizes are ρ_t = γ_t ρ β_{t|s} and μ_t = γ_t μ (1−ᾱ_t). The factor 1−ᾱ_t is the
    variance of x_0 given x_t for data of variance 1, so that γ μ = 1 is one step of Bayes' rule.
    sim is asked about x̂_0 as it is predicted, not clipped to [-1, 1]: a clipped pixel would have
    no gradient where it is most wrong.

    Arguments:
        gamma: γ, how strongly guidance steers; 0 is the unguided sampler.
        options: `Guidance`'s.
    """

    at_clean = True
    rho, mu, iterations, smoothing, draws = 1.0, 0.0, 1, 0.0, 1

    def __init__(self, gamma: float = 5.0, **options: Any):
        super().__init__(gamma, **options)

    def set_knobs(self, **knobs: float) -> None:
        """Those of the five that a method leaves to its user.

        Raises:
            UserError: out of range.
        """
        for name, value in knobs.items():
            check, low = (integer, 1) if name in ("iterations", "draws") else (number, 0)
            setattr(self, name, check(f"{name}", value, low))

    @property
    def encoded_at_once(self) -> int:
        return self.draws if self.smoothing else 1

    def smoothed(self, t: float, noise: Callable[[], Tensor]) -> Callable[[Tensor], Tensor]:
        """F, with its δ drawn once."""
        if not self.smoothing:
            return lambda x0: self.similarity(x0, CLEAN)
        sigma = self.smoothing * float(1 - self.schedule.alpha_bar(t)) ** 0.5
        deltas = [sigma * noise() for _ in range(self.draws)]

        def log_mean_exp(x0: Tensor) -> Tensor:
            values = torch.stack([self.similarity(x0 + delta, CLEAN) for delta in deltas])
            return torch.logsumexp(values, 0) - torch.tensor(self.draws).log()

        return log_mean_exp

    def guide_prediction(
        self, predict: Predict, x_t: Tensor, t: float, s: float, noise: Callable[[], Tensor]
    ) -> GuidanceOutput:
        similarity, score, shift = self.smoothed(t, noise), None, None
        if self.rho:
            prediction, g = through_denoiser(similarity, predict, x_t)
            score = self.sized(self.rho * self.shaped(g), x_t, prediction.x0, t)
        else:
            prediction = predict(x_t)
        if self.mu:
            size = self.gamma_at(t) * self.mu * float(1 - self.schedule.alpha_bar(t))
            shift = torch.zeros_like(x_t)
            for _ in range(self.iterations):
                shift = shift + size * self.shaped(gradient(similarity, prediction.x0 + shift))
        return self.combined(GuidanceOutput(prediction, score, shift), t)

    def sized(self, g: Tensor, x_t: Tensor, x0: Tensor, t: float) -> Tensor:
        """The score of the gradient g."""
        return self.gamma_at(t) * g

    def combined(self, output: GuidanceOutput, t: float) -> GuidanceOutput:
        """What score and shift become together."""
        return output


class TFG(TrainingFree):
    """The union: every knob of the formula.

    DPS, LGD and MPGD are special cases, FreeDoM and Universal change one line each.

    Arguments:
        gamma: γ, how strongly guidance steers; 0 is the unguided sampler.
        rho: ρ, the weight of the gradient through the denoiser; 0 leaves it out.
        mu: μ, the weight of the gradient at x̂_0; 0 leaves it out.
        iterations: m, the number of steps of ascent at x̂_0.
        smoothing: σ, the spread of the draws around x̂_0 in units of √(1−ᾱ_t); 0 draws none.
        draws: n, the number of draws δ_i.
        options: `Guidance`'s.
    """

    def __init__(
        self,
        gamma: float = 5.0,
        rho: float = 1.0,
        mu: float = 0.2,
        iterations: int = 2,
        smoothing: float = 0.1,
        draws: int = 1,
        **options: Any,
    ):
        super().__init__(gamma, **options)
        self.set_knobs(rho=rho, mu=mu, iterations=iterations, smoothing=smoothing, draws=draws)
        if not self.rho and not self.mu:
            raise UserError("rho=0 and mu=0 leave no guidance; set one above 0.", "rho")


class DPS(TrainingFree):
    """Diffusion posterior sampling (Chung et al. 2023, arXiv 2209.14687, eq. 7).

    With ∇ log p(y | x_t) ≈ ∇_{x_t} log p(y | x̂_0(x_t)),

        score = γ_t ∇_{x_t} sim(x̂_0(x_t), y)
    """


class LGD(TrainingFree):
    """Loss-guided diffusion with Monte Carlo (Song et al. 2023, ICML, eq. 8).

    x_0 given x_t is N(x̂_0, r_t²) instead of a point:

        score = γ_t ∇_{x_t} log 1/n Σ_i exp sim(x̂_0(x_t) + r_t δ_i, y),   r_t = σ √(1−ᾱ_t)

    With σ_VE² = (1−ᾱ)/ᾱ the paper's r_t = σ_VE/√(1+σ_VE²) is √(1−ᾱ_t), here for σ = 1.

    Arguments:
        gamma: γ, how strongly guidance steers; 0 is the unguided sampler.
        draws: n, the number of draws δ_i.
        smoothing: σ, their spread in units of √(1−ᾱ_t).
        options: `Guidance`'s.
    """

    def __init__(self, gamma: float = 5.0, draws: int = 4, smoothing: float = 1.0, **options: Any):
        super().__init__(gamma, **options)
        self.set_knobs(draws=draws, smoothing=smoothing)


class FreeDoM(TrainingFree):
    """FreeDoM (Yu et al. 2023, arXiv 2303.09833, alg. 2, with the step size of the authors' code).

    It has DPS' direction, a step in proportion to ε̂, and time travel:

        ε̂ ← ε̂ − γ_t rms(ε̂) g/rms(g),   g = ∇_{x_t} sim(x̂_0(x_t), y),
        that is   score = γ_t rms(ε̂)/√(1−ᾱ_t) · g/rms(g)

    It sizes its own step, so `normalize` and `max_norm` have no place here.

    Arguments:
        gamma: γ, the share of ε̂ that is replaced.
        others: as of `Guidance`.
    """

    def __init__(
        self,
        gamma: float = 0.2,
        gamma_schedule: str = "constant",
        interval: Sequence[float] = (0.0, 1.0),
        recurrence: int = 2,
        recurrence_interval: Sequence[float] = (0.0, 1.0),
        candidates: int = 1,
        select_at: float = 0.6,
        last_step: bool = False,
        clip_first: bool = False,
    ):
        super().__init__(
            gamma,
            gamma_schedule=gamma_schedule,
            interval=interval,
            recurrence=recurrence,
            recurrence_interval=recurrence_interval,
            candidates=candidates,
            select_at=select_at,
            last_step=last_step,
            clip_first=clip_first,
        )

    def sized(self, g: Tensor, x_t: Tensor, x0: Tensor, t: float) -> Tensor:
        sigma = (1 - self.schedule.alpha_bar(t, x_t.device)).sqrt().to(x_t.dtype)
        size = self.gamma_at(t) * rms(self.schedule.noise(x0, x_t, t)) / sigma
        return size * g / rms(g).clamp(min=1e-12)


def rms(x: Tensor) -> Tensor:
    """The root mean square of every sample, (B, 1, 1, 1)."""
    return x.square().flatten(1).mean(1).sqrt().view(-1, 1, 1, 1)


class Universal(TrainingFree):
    """Universal guidance (Bansal et al. 2023, arXiv 2302.07121, alg. 1).

    It is DPS, then a few steps of ascent at x̂_0, then time travel:

        score = γ_t ∇_{x_t} sim(x̂_0(x_t), y) + √ᾱ_t/(1−ᾱ_t) Δ,   Δ = Δ_m as above

    The second term is the paper's ε̂ ← ε̂ − √(ᾱ_t/(1−ᾱ_t)) Δ: here ε̂ moves with x̂_0, so that x_t
    stays explained.

    Arguments:
        gamma: γ, how strongly guidance steers; 0 is the unguided sampler.
        mu: μ, the weight of the gradient at x̂_0; γ μ = 1 is a step of Bayes' rule.
        iterations: m, the number of steps of ascent at x̂_0.
        recurrence: R, how often a guided step is taken.
        options: `Guidance`'s.
    """

    def __init__(
        self,
        gamma: float = 5.0,
        mu: float = 1.0,
        iterations: int = 3,
        recurrence: int = 2,
        **options: Any,
    ):
        super().__init__(gamma, recurrence=recurrence, **options)
        self.set_knobs(mu=mu, iterations=iterations)

    def combined(self, output: GuidanceOutput, t: float) -> GuidanceOutput:
        prediction, score, shift = output
        if shift is None:
            return output
        assert score is not None  # ρ is 1
        a = self.schedule.alpha_bar(t, shift.device)
        return GuidanceOutput(prediction, score + (a.sqrt() / (1 - a)).to(shift.dtype) * shift)


class MPGD(TrainingFree):
    """Manifold preserving guided diffusion (He et al. 2023, arXiv 2311.16424, alg. 1).

    x̂_0 moves, the denoiser is not differentiated:

        x̂_0 ← x̂_0 + γ_t (1−ᾱ_t) ∇_{x̂_0} sim(x̂_0, y),   ε̂ stays
    """

    rho, mu = 0.0, 1.0
