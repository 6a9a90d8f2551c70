"""What a sampler is: a grid of noise levels, and one reverse step."""

import copy
import math
from abc import ABC, abstractmethod
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import GuidanceOutput, Guide, Prediction, guide_of_step
from sdg.diffusion.noise import GUIDANCE_STREAM, NoiseSource
from sdg.diffusion.schedule import SPACINGS, Schedule
from sdg.errors import UserError, choice, integer

__all__ = ["PrevStep", "Sampler", "Step", "guided_prediction"]


class PrevStep(NamedTuple):
    """The step before: its level and its x̂_0."""

    t: float
    x0: Tensor


class Step(NamedTuple):
    """A step's result x_s and the x̂_0 that it was made from (of DPM-Solver++ before a shift)."""

    x: Tensor
    x0: Tensor


class Sampler(ABC):
    """One way to run the reverse process.

    Arguments:
        steps: how many steps a run takes, 1 … T of the denoiser's schedule, or any number where
            levels are real.
        spacing: where their levels lie: whole ones by `linspace`, `leading`, `trailing` or
            `towards_noise`, real ones by `log_snr` or `karras`; see `Schedule.steps`.

    Raises:
        UserError: `steps` is no positive integer, or there is no such spacing.
    """

    # Whether a step adds noise of a variance Σ. Guidance's `mean_gradient`, which is multiplied by
    # Σ, is asked for only then.
    has_variance = False
    # Whether guidance enters as a score at x_t unless it is told otherwise. It always does where
    # there is no Σ.
    prefers_score = False
    # The share η of the deviation √β̃ that is new noise; the mean keeps the rest.
    eta = 1.0

    def __init__(self, steps: int, spacing: str = "linspace"):
        self.steps, self.spacing = integer("steps", steps, 1), choice("spacing", spacing, SPACINGS)

    def grid(self, schedule: Schedule) -> list[tuple[float, float]]:
        """The steps (t, s) of a whole run, from t = T−1 or below down to s = −1, the image."""
        return schedule.steps(self.steps, self.spacing)

    def with_steps(self, steps: int) -> "Sampler":
        """The same sampler with another number of steps."""
        other = copy.copy(self)
        other.steps = integer("steps", steps, 1)
        return other

    @abstractmethod
    def step(
        self,
        denoiser: Denoiser,
        x: Tensor,
        t: float,
        s: float,
        noise: NoiseSource,
        guide: Guide | None = None,
        past: PrevStep | None = None,
    ) -> Step:
        """The step from level t to level s < t; s = −1 gives the image.

        `guided_prediction` calls the network and lets guidance act.

        Arguments:
            x: x_t, shape (B, C, H, W).
            t, s: levels of the denoiser's schedule.
            noise: gives z ~ N(0, I), shape of `x`.
            guide: guidance of this step; None is an unguided one. `sample` asks guidance which
                steps are guided, and how often each.
            past: the step before; None at the first one.

        Returns:
            x_s, and the x̂_0 that it was made from, both shaped as `x`.
        """


def guided_prediction(
    denoiser: Denoiser, x: Tensor, t: float, s: float, noise: NoiseSource, guide: Guide | None
) -> tuple[Prediction, Tensor]:
    """One call of the network, moved by guidance's score; and its x̂_0 + shift.

    The first is what ε̂ follows from, `denoiser.schedule.noise(prediction.x0, x, t)`; the second is
    what the step goes to, shape (B, C, H, W). Both are clipped as the denoiser says, or, with
    `guide.clip_first`, x̂_0 before the score moves it, and not after. The score
    moves ε̂ as in Dhariwal & Nichol 2021, alg. 2: ε̂ = ε_θ − √(1−ᾱ_t) · score.

    Arguments:
        as of `Sampler.step`.
    """
    guide = guide_of_step(guide, s)
    if guide is None:
        output = GuidanceOutput(denoiser(x, t))
    else:
        own_noise = partial(noise, GUIDANCE_STREAM)
        output = guide.guide_prediction(partial(denoiser, t=t), x, t, s, own_noise)
        if not isinstance(output, GuidanceOutput):
            raise UserError(
                f"guide_prediction gave {type(output).__name__}; it must give a GuidanceOutput."
            )
    (x0, variance_weight, _), score, shift = output
    for name, move in ("score", score), ("shift", shift):
        if move is not None and move.shape != x.shape:
            raise UserError(
                f"guide_prediction gave a {name} of shape {tuple(move.shape)}; it must be that of "
                f"x_t, {tuple(x.shape)}."
            )
    limit = 1.0 if denoiser.clip else math.inf
    if guide is not None and guide.clip_first:
        x0, limit = x0.clamp(-limit, limit), math.inf
    if score is not None:
        a = denoiser.schedule.alpha_bar(t, x.device)
        gain = torch.where(a > 0, (1 - a) / a.sqrt(), 0.0)  # noise alone shows nothing
        x0 = x0 + gain.to(x.dtype) * score
    x0 = x0.clamp(-limit, limit)
    shifted = x0 if shift is None else (x0 + shift).clamp(-limit, limit)
    return Prediction(x0, variance_weight), shifted
