"""HOW it steers: semantic diffusion guidance itself."""

import torch
from torch import Tensor

from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, choice, integer, number
from sdg.guidance.similarity import Similarity

__all__ = ["SemanticGuidance", "matched_levels"]


class SemanticGuidance:
    """The seed's equation (Liu et al. 2022, arXiv 2112.05744, alg. 1), from p(x_s | x_t, y) ∝ p_θ(x_s | x_t) exp(γ sim(x_s, y)):

        x_s = μ_θ(x_t, t) + Σ γ ∇_x sim(x, y) |_{x = μ_θ(x_t, t)} + Σ^½ z

    This object gives γ∇sim; the sampler multiplies by its Σ.

    Arguments:
        gamma: γ; 0 is the unguided sampler, bit for bit, and no encoder is called.
        gradient_at: `mean`, at μ_θ and told s; `x_t`, at x_t and told t; None is `mean` where the sampler has a Σ, else `x_t`.
        recurrence: R; every step is taken R times with noise put back between.
    """

    def __init__(self, gamma: float = 5.0, gradient_at: str | None = None, recurrence: int = 1):
        self.gamma = number("guidance.gamma", gamma)
        self.gradient_at = None if gradient_at is None else choice("guidance.gradient_at", gradient_at, ("mean", "x_t"))
        self.recurrence = integer("guidance.recurrence", recurrence, 1)

    def check(self, sampler) -> None:
        """Refuses a sampler that this guidance cannot steer."""
        if self.gamma and self.gradient_at == "mean" and not sampler.has_variance:
            raise UserError("guidance.gradient_at=mean multiplies the gradient by the step's variance Σ, which this sampler does not have; use "
                            "guidance.gradient_at=x_t (the score form: the same γ then steers somewhat differently) or sampler=ddpm.")

    def guide(self, similarity: Similarity, levels: Tensor):
        """γ∇sim for the sampler's steps, or None for γ = 0.

        Arguments:
            similarity: of a batch to what it shall be like.
            levels: the encoder's level for each of the denoiser's, integers (T,), matched by ᾱ.
        """
        if self.gamma == 0:
            return None

        def gradient(x_t: Tensor, t: int, mean: Tensor | None, s: int) -> Tensor:
            at_mean = self.gradient_at == "mean" or (self.gradient_at is None and mean is not None)
            x, level = (mean, s) if at_mean else (x_t, t)
            return self.gamma * similarity_gradient(similarity, x, levels[level])
        return gradient


def similarity_gradient(similarity: Similarity, x: Tensor, level: Tensor) -> Tensor:
    """∇_x sim(x, y), of every sample by itself, in fp32 whatever precision the networks run in."""
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        x = x.detach().float().requires_grad_()
        return torch.autograd.grad(similarity(x, level.to(x.device).expand(len(x))).sum(), x)[0]


def matched_levels(denoiser: Schedule, encoder: dict | None) -> Tensor:
    """The encoder's level with the same ᾱ, for each of the denoiser's T levels.

    Arguments:
        denoiser: its schedule.
        encoder: config of the encoder's schedule, or None for a clean encoder, which ignores its level.
    """
    every = torch.arange(denoiser.T)
    return every if encoder is None else Schedule(**encoder).match(denoiser.alpha_bar(every).flatten())
