"""HOW it steers: semantic diffusion guidance itself."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import Tensor

from sdg.diffusion.guide import GuidanceOutput, Predict
from sdg.diffusion.sampler import Sampler
from sdg.diffusion.schedule import ANY_ANGLE, Schedule
from sdg.errors import UserError, choice
from sdg.guidance.guidance import Guidance, SimilarityFn, gradient, through_denoiser

__all__ = ["SemanticGuidance"]


PLACES = ("mean", "mean_own_level", "x_t", "x0")


class SemanticGuidance(Guidance):
    """The paper's equation (Liu et al. 2022, arXiv 2112.05744, alg. 1).

    From p(x_s | x_t, y) ∝ p_θ(x_s | x_t) exp(γ sim(x_s, y)) follows

        x_s = μ_θ(x_t, t) + Σ γ ∇_x sim(x, y) |_{x = μ_θ(x_t, t)} + Σ^½ z

    This object gives γ∇sim; the sampler multiplies by its Σ, or, having none, takes it as a score
    at x_t.

    Arguments:
        gamma: γ, how strongly guidance steers; 0 is the unguided sampler.
        gradient_at: where the similarity is asked, and at which noise level: `mean`, at μ_θ and
            level s; `mean_own_level`, at μ_θ and the level of μ_θ's own noise, which is less than
            that of s; `x_t`, at x_t and level t, as guided-diffusion does; `x0`, at a new draw of
            q(x_t | x̂_0(x_t)) and level t, through the denoiser, as a score:

                score = γ_t ∇_{x_t} sim(√ᾱ_t x̂_0(x_t) + √(1−ᾱ_t) z, y),   z ~ N(0, I)

            The denoiser's Jacobian, which is ᾱ_t^½/(1−ᾱ_t) Cov(x_0 | x_t), leaves of the encoder's
            gradient what images can do; it costs the denoiser's backward pass. None is `mean` for
            a sampler of DDPM's kind, and `x_t` for DDIM and DPM-Solver++, which take it as a score.
            DDIM with η > 0 has a Σ too, so that `mean` may be named there.
        options: `Guidance`'s.

    Attributes:
        is_score: whether the gradient is one at x_t that the sampler takes as a score; `prepare`
            sets it.
    """

    is_score: bool

    def __init__(self, gamma: float = 30.0, gradient_at: str | None = None, **options: Any):
        super().__init__(gamma, **options)
        self.gradient_at = (
            None if gradient_at is None else choice("gradient_at", gradient_at, PLACES)
        )

    def check(self, sampler: Sampler) -> None:
        if self.gamma and self.gradient_at not in (None, "x_t", "x0") and not sampler.has_variance:
            raise UserError(
                f"gradient_at={self.gradient_at} multiplies the gradient by the step's variance "
                "Σ, which this sampler does not have; use gradient_at=x_t (the score form: the "
                "same γ then steers somewhat differently), the sampler ddpm, or ddim with eta "
                "above 0.",
                "gradient_at",
            )

    def prepare(
        self, similarity: SimilarityFn, schedule: Schedule, sampler: Sampler
    ) -> "SemanticGuidance | None":
        prepared = super().prepare(similarity, schedule, sampler)
        if prepared is not None:
            at_x_t = self.gradient_at in (None, "x_t")
            prepared.is_score = not sampler.has_variance or (sampler.prefers_score and at_x_t)
        return prepared

    def guide_prediction(
        self, predict: Predict, x_t: Tensor, t: int, s: int, noise: Callable[[], Tensor]
    ) -> GuidanceOutput:
        if self.gradient_at == "x0":
            return self.guide_estimate(predict, x_t, t, noise())
        prediction = predict(x_t)
        if not self.is_score:
            return GuidanceOutput(prediction)
        g = gradient(self.similarity, x_t, t)
        return GuidanceOutput(prediction, score=self.gammas[t] * self.shaped(g))

    def guide_estimate(self, predict: Predict, x_t: Tensor, t: int, z: Tensor) -> GuidanceOutput:
        """γ_t ∇_{x_t} sim(√ᾱ_t x̂_0(x_t) + √(1−ᾱ_t) z, y) as a score."""
        a = self.schedule.alpha_bar(t, x_t.device)
        signal, sigma = a.sqrt().to(x_t.dtype), (1 - a).sqrt().to(x_t.dtype)
        prediction, g = through_denoiser(
            lambda x0: self.similarity(signal * x0 + sigma * z, t), predict, x_t
        )
        return GuidanceOutput(prediction, score=self.gammas[t] * self.shaped(g))

    def mean_gradient(self, mean: Tensor, x_t: Tensor, t: int, s: int) -> Tensor | None:
        if self.gradient_at == "x0" or self.is_score:
            return None
        if self.gradient_at == "x_t":
            g = gradient(self.similarity, x_t, t)
        elif self.gradient_at == "mean_own_level":
            scale, level = own_level(self.schedule, t, s, self.eta)
            g = gradient(lambda x: self.similarity(x * scale, level), mean)
        else:
            g = gradient(self.similarity, mean, s)
        return self.gammas[t] * self.shaped(g)


@lru_cache(4096)  # of a run's steps
def own_level(schedule: Schedule, t: int, s: int, eta: float = 1.0) -> tuple[float, int]:
    """What makes μ_θ a draw of some level: a scale and that level.

    x_s = μ_θ + σ z with σ² = η² β̃, so μ_θ holds √ᾱ_s x_0 and noise of variance 1−ᾱ_s−σ²; times
    (1−σ²)^−½ that is a draw of the level with ᾱ = ᾱ_s/(1−σ²).

    Arguments:
        eta: η, 1 for DDPM's posterior.
    """
    a_s, small = schedule.alpha_bar(s), eta**2 * schedule.posterior_variance(t, s)
    return float((1 - small) ** -0.5), int(schedule.match((a_s / (1 - small)).view(1), ANY_ANGLE))
