"""Denoising likelihood score matching, which trains the gradient that guidance uses."""

import torch
from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.schedule import Schedule
from sdg.training.posterior import log_posterior, score_error

__all__ = ["ScoreMatching"]

# Above it the weight falls, so that small t does not outweigh the rest.
MAX_SNR = 5


class ScoreMatching:
    """min(1, 5/SNR_t) ‖ε̂(x_t) − σ_t ∇_x log q(k | x_t) − ε‖²,   k ~ p_c(· | x_0).

    After Chao et al. 2022 (arXiv 2203.14206).

    Arguments:
        denoiser: that gives ε̂, frozen.
        schedule: of the encoder's T levels.
        levels: the denoiser's level for each of them, integers, (T,).
    """

    def __init__(self, denoiser: Denoiser, schedule: Schedule, levels: Tensor):
        self.denoiser, self.schedule, self.levels = denoiser, schedule, levels

    def __call__(
        self, z: Tensor, x_t: Tensor, t: Tensor, noise: Tensor, log_p: Tensor, text: Tensor
    ) -> Tensor:
        """The mean over images.

        Arguments:
            z: embeddings of `x_t` at their own length, (B, D).
            x_t: noisy images that require a gradient, (B, C, H, W).
            t: their levels, (B,).
            noise: ε, shaped as `x_t`.
            log_p: log p_c(k | x_0), (B, K).
            text: unit embeddings of the sentences, (K, D).
        """
        with torch.no_grad():
            k = torch.multinomial(log_p.exp(), 1)
            x0 = self.denoiser.eval()(x_t.detach(), self.levels.to(t.device)[t]).x0
            predicted = self.schedule.noise(x0, x_t.detach(), t)
        a = self.schedule.alpha_bar(t, x_t.device)
        log_q = log_posterior(z, text).gather(1, k)[:, 0]
        error = score_error(log_q, x_t, predicted, noise, (1 - a).sqrt().to(x_t.dtype))
        weight = (MAX_SNR * (1 - a) / a).clamp(max=1).flatten().to(error.dtype)
        return (weight * error).mean()
