"""Noisy images as guidance makes them, with the clean images that come of them."""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Prediction
from sdg.diffusion.schedule import Schedule
from sdg.errors import integer, number

__all__ = ["OnPolicy"]

HIGHEST = 0.9  # of the range of levels; measured on the portraits, 8 steps

LogBelief = Callable[[Tensor, Tensor], Tensor]


class OnPolicy:
    """States that guided sampling visits, and what they become when guidance stops.

    An encoder that has only seen q(x_t | x_0) says little that is true of an image which its own
    gradient has made: guidance climbs what the encoder misjudges. So a part of a batch is made by
    guidance, and learns from what comes of it (on-policy distillation, after Agarwal et al. 2024,
    arXiv 2306.13649):

        x_s ~ q(x_s | x_0),                        s uniform in t … T−1
        x_t: n steps x ← μ + Σ γ ∇log q(k | x)|_{x = μ} + Σ^½ z   from s to t
        x_0': n steps of DDIM, unguided,           from t to the image

    The target of E(x_t, t) is then the clean CLIP's belief p_c(· | x_0'). Levels above
    `HIGHEST` are lowered in proportion: from higher ones a few steps of DDIM favour what is common.

    Arguments:
        denoiser: frozen.
        schedule: of the encoder's T levels.
        levels: the denoiser's level for each of them, integers, (T,).
        steps: n, of the guided part, and of DDIM after it.
        gamma: γ is drawn log-uniformly from 1 to this.
    """

    def __init__(
        self, denoiser: Denoiser, schedule: Schedule, levels: Tensor, steps: int, gamma: float
    ):
        self.denoiser, self.schedule, self.levels = denoiser, schedule, levels
        self.steps = integer("module.on_policy_steps", steps, 1)
        self.gamma = number("module.on_policy_gamma", gamma, 1)

    def lowered(self, t: Tensor) -> Tensor:
        """Levels, (B,), none of them too high to finish from."""
        return (HIGHEST * t).long()

    def __call__(self, x0: Tensor, t: Tensor, log_belief: LogBelief) -> tuple[Tensor, Tensor]:
        """x_t and x_0', each shaped as `x0`, (B, C, H, W).

        Arguments:
            t: levels of x_t, as `lowered` gives them, (B,).
            log_belief: from images and levels to log q(k | x), (B,), of one sentence each.
        """
        span = self.schedule.T - t.double()
        s = t + (span * torch.rand(len(t), dtype=torch.float64).to(t.device)).long()
        x_s = self.schedule.q_sample(x0, s, torch.randn_like(x0))
        x_t = self.guided(x_s, s, t, log_belief)
        return x_t, self.finished(x_t, t)

    def guided(self, x: Tensor, s: Tensor, t: Tensor, log_belief: LogBelief) -> Tensor:
        """Takes images from levels s to levels t, guided."""
        share = torch.rand(len(x), 1, 1, 1).to(x)
        gamma = (share * math.log(self.gamma)).exp()
        path = between(s, t, self.steps)
        for now, then in itertools.pairwise(path):
            prediction = self.prediction(x, now)
            mean, variance = self.denoiser.reverse(prediction, x, self.own(now), self.own(then))
            mean = mean.detach().requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(log_belief(mean, then).sum(), mean)
            noise = torch.randn_like(x)
            moved = mean.detach() + variance * gamma * gradient + variance.sqrt() * noise
            # A short way repeats levels, between which a learned Σ has no logarithm.
            x = torch.where((then < now).view(-1, 1, 1, 1), moved, x)
        return x

    def finished(self, x: Tensor, t: Tensor) -> Tensor:
        """The image that comes of x_t without guidance, by DDIM."""
        path = between(t, torch.full_like(t, -1), self.steps)
        for now, then in itertools.pairwise(path):
            x0 = self.prediction(x, now).x0
            noise = self.schedule.noise(x0, x, now)
            x = self.schedule.q_sample(x0, then, noise)
        return x

    @torch.no_grad()
    def prediction(self, x: Tensor, t: Tensor) -> Prediction:
        """What the denoiser says of x_t, x̂_0 clipped where it clips."""
        prediction = self.denoiser.eval()(x, self.own(t))
        x0 = prediction.x0.to(x.dtype)
        return prediction._replace(x0=x0.clamp(-1, 1) if self.denoiser.clip else x0)

    def own(self, t: Tensor) -> Tensor:
        """The denoiser's levels."""
        self.levels = self.levels.to(t.device)
        return self.levels[t]


def between(first: Tensor, last: Tensor, steps: int) -> list[Tensor]:
    """`steps` + 1 levels, (B,) each, evenly from `first` to `last`; all but the last at least 0."""
    places = [first + ((last - first) * (i / steps)).round().long() for i in range(steps)]
    return [place.clamp(min=0) for place in places] + [last]
