"""What every way of steering shares: how strong, at which noise levels, how often."""

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from sdg.diffusion.guide import GuidanceOutput, Predict, Prediction
from sdg.diffusion.noise_range import checked_interval, noise_fraction
from sdg.diffusion.sampler import Sampler
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, choice, integer, number

__all__ = ["Guidance", "SimilarityFn", "gradient", "through_denoiser"]

# sim(x, y) of x (B, C, H, W) at one of the denoiser's levels, −1 for a clean image: (B,),
# differentiable in x.
SimilarityFn = Callable[[Tensor, float], Tensor]
# a and b of γ_t/γ = a + b u over u = t/(T−1), from image to noise; each has mean 1
GAMMA_SCHEDULES = {"constant": (1, 0), "towards_noise": (0, 2), "towards_image": (2, -2)}

Own = TypeVar("Own", bound="Guidance")
SELECT_AT = 0.6  # where candidates are chosen, unless a call says otherwise


def gradient(similarity: Callable[..., Tensor], x: Tensor, *level: float) -> Tensor:
    """∇_x sim(x) or ∇_x sim(x, level), of every sample by itself.

    x and the gradient are of float32; under autocast the encoder may run in bfloat16, forward and
    backward.
    """
    with torch.enable_grad():
        x = x.detach().float().requires_grad_()
        value = similarity(x, *level).sum()
    # Autocast would change the precision of the backward pass a second time.
    with torch.autocast(x.device.type, enabled=False):
        return torch.autograd.grad(value, x)[0]


def through_denoiser(
    similarity: Callable[[Tensor], Tensor], predict: Predict, x_t: Tensor
) -> tuple[Prediction, Tensor]:
    """The prediction and ∇_{x_t} F(x̂_0(x_t)).

    They come from one forward and one backward pass of the denoiser.
    """
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        prediction = predict(x)
        value = similarity(prediction.x0.float()).sum()
    with torch.autocast(x.device.type, enabled=False):
        g = torch.autograd.grad(value, x)[0]
    weight = prediction.variance_weight
    weight = None if weight is None else weight.detach()
    return prediction._replace(x0=prediction.x0.detach(), variance_weight=weight), g


class Guidance:
    """How a similarity steers.

    A config or a user makes one from its options. `prepare` gives it a batch's similarity, and so
    makes it the `sdg.diffusion.guide.Guide` that a sampler calls. A method of one's own overrides
    `guide_prediction`, or `mean_gradient`, or both.

    Arguments:
        gamma: γ; 0 is the unguided sampler, bit for bit, and no encoder is called.
        gamma_schedule: `constant`; `towards_noise`, γ_t = 2γu with u = t/(T−1); or `towards_image`,
            γ_t = 2γ(1−u).
        interval: [lo, hi]; only steps from levels with lo ≤ u ≤ hi are guided (Kynkäänniemi et al.
            2024, arXiv 2404.07724).
        normalize: give every sample's gradient root mean square 1 before γ.
        max_norm: scale a longer gradient of a sample down to this Euclidean norm; None leaves it.
        recurrence: R; a guided step is taken R times with noise put back between.
        recurrence_interval: the levels whose steps are repeated, as in `interval`.
        candidates: K for each sample, the likeliest of which goes on
            (`sdg.guidance.selection.Selection`); 1 chooses nothing.
        select_at: the place in the noise range where it is chosen, in [0, 1]; only with several
            candidates.
        last_step: also guide the step to the clean image, once, as the authors' code does.
        clip_first: clip x̂_0 before a score moves it, and not after, as guided-diffusion's DDIM
            does; otherwise x̂_0 stays within [-1, 1] whatever guidance does.

    Raises:
        UserError: a parameter is out of range, or has no effect.

    Attributes:
        at_clean: whether the similarity is asked about x̂_0, so that a clean encoder fits, or about
            x_t.
        similarity: sim of a batch, (x, level) → (B,); `prepare` sets it.
        schedule: the denoiser's; `prepare` sets it.
        eta: η of the sampler; `prepare` sets it.
    """

    at_clean = False
    similarity: SimilarityFn
    schedule: Schedule
    eta: float

    def __init__(
        self,
        gamma: float,
        gamma_schedule: str = "constant",
        interval: Sequence[float] = (0.0, 1.0),
        normalize: bool = False,
        max_norm: float | None = None,
        recurrence: int = 1,
        recurrence_interval: Sequence[float] = (0.0, 1.0),
        candidates: int = 1,
        select_at: float = SELECT_AT,
        last_step: bool = False,
        clip_first: bool = False,
    ):
        self.gamma = number("gamma", gamma)
        self.gamma_schedule = choice("gamma_schedule", gamma_schedule, GAMMA_SCHEDULES)
        self.interval = checked_interval("interval", interval)
        self.normalize = choice("normalize", normalize, (False, True))
        self.max_norm = None if max_norm is None else number("max_norm", max_norm, 0)
        if self.max_norm == 0:
            raise UserError("max_norm=0 leaves no guidance; set it above 0.", "max_norm")
        self.recurrence = integer("recurrence", recurrence, 1)
        self.recurrence_interval = checked_interval("recurrence_interval", recurrence_interval)
        self.candidates = integer("candidates", candidates, 1)
        self.select_at = number("select_at", select_at, 0, 1)
        if self.candidates == 1 and self.select_at != SELECT_AT:
            raise UserError(
                "select_at has no effect with one candidate; take more candidates, or leave it "
                "out.",
                "select_at",
            )
        self.last_step = choice("last_step", last_step, (False, True))
        self.clip_first = choice("clip_first", clip_first, (False, True))

    @property
    def encoded_at_once(self) -> int:
        """Of one sample, how many images the similarity keeps for one gradient."""
        return 1

    def check(self, sampler: Sampler) -> None:
        """Raises a `UserError` for a sampler that this method cannot steer; any by default."""

    def check_steps(self, steps: Sequence[tuple[float, float]], T: int) -> None:
        """Raises a `UserError` where γ is not 0 and still none of these steps (t, s) is guided.

        One to the image itself only is with `last_step`.
        """
        low, high = self.interval
        last = self.last_step
        guided = [t for t, s in steps if (s >= 0 or last) and low <= noise_fraction(t, T) <= high]
        if self.gamma and not guided:
            unguided = "" if last else "the last one is not, and "
            raise UserError(
                f"interval=[{low:g},{high:g}]: none of the {len(steps)} steps would be guided: "
                f"{unguided}it holds no other. Take more steps, a larger strength or a wider "
                "interval, or gamma=0.",
                "interval",
            )
        choosing = [s for _, s in steps if s >= 0 and noise_fraction(s, T) <= self.select_at]
        if self.candidates > 1 and not choosing:
            raise UserError(
                f"select_at={self.select_at:g}: no step reaches so little noise before the last, "
                "so no candidate would be chosen; raise it, or take more steps.",
                "select_at",
            )

    def prepare(
        self: Own, similarity: SimilarityFn, schedule: Schedule, sampler: Sampler
    ) -> Own | None:
        """This guidance with what it steers by, as a sampler calls it; None for γ = 0.

        Arguments:
            similarity: sim(x, y) of a batch, (x, level) → (B,), differentiable in x.
            schedule: the denoiser's.
            sampler: that will call it.

        Raises:
            UserError: this method cannot steer this sampler.
        """
        self.check(sampler)
        if not self.gamma:
            return None
        self.check_overridden(sampler)
        prepared = copy.copy(self)
        prepared.similarity, prepared.schedule = similarity, schedule
        prepared.eta = sampler.eta
        return prepared

    def check_overridden(self, sampler: Sampler) -> None:
        """Raises a `UserError` where neither method that could steer this sampler is overridden."""
        own = type(self)
        if own.guide_prediction is not Guidance.guide_prediction:
            return
        name = own.__name__
        if own.mean_gradient is Guidance.mean_gradient:
            raise UserError(
                f"guidance {name} steers nothing: it overrides neither guide_prediction nor "
                "mean_gradient."
            )
        if not sampler.has_variance:
            raise UserError(
                f"guidance {name} gives a mean_gradient only, which is multiplied by the step's "
                "variance Σ, and this sampler has none; use DDPM."
            )

    def gamma_at(self, t: float) -> float:
        """γ_t = γ (a + b t/(T−1)), a and b of `gamma_schedule`."""
        constant, slope = GAMMA_SCHEDULES[self.gamma_schedule]
        return self.gamma * (constant + slope * noise_fraction(t, self.schedule.T))

    def guided_repeats(self, t: float) -> int:
        """How often the step from level t is taken guided; 0 outside of the interval."""
        u = noise_fraction(t, self.schedule.T)
        low, high = self.interval
        if not low <= u <= high:
            return 0
        low, high = self.recurrence_interval
        return self.recurrence if low <= u <= high else 1

    def guide_prediction(
        self, predict: Predict, x_t: Tensor, t: float, s: float, noise: Callable[[], Tensor]
    ) -> GuidanceOutput:
        """The prediction, moved; by default it is not."""
        return GuidanceOutput(predict(x_t))

    def mean_gradient(self, mean: Tensor, x_t: Tensor, t: float, s: float) -> Tensor | None:
        """γ∇sim for a sampler to multiply by its Σ; None by default."""
        return None

    def shaped(self, g: Tensor) -> Tensor:
        """∇sim, normalised or cut as `normalize` and `max_norm` say; each sample by itself."""
        if self.normalize:
            g = g / g.square().flatten(1).mean(1).sqrt().clamp(min=1e-12).view(-1, 1, 1, 1)
        if self.max_norm is not None:
            norm = g.flatten(1).norm(dim=1).clamp(min=1e-12)
            g = g * (self.max_norm / norm).clamp(max=1).view(-1, 1, 1, 1)
        return g
