"""What every way of steering shares: how strong, at which noise levels, how often."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sdg.diffusion.guide import GuidanceOutput, Prediction
from sdg.diffusion.sampler import Sampler
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, choice, integer, number

__all__ = ["SimilarityFn", "Bound", "Method", "gradient", "through_denoiser"]

# sim(x, y) of x (B, C, H, W) at one of the denoiser's levels, −1 for a clean image: (B,),
# differentiable in x.
SimilarityFn = Callable[[Tensor, int], Tensor]
# γ_t/γ over u = t/(T−1), from image to noise; each has mean 1
GAMMA_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda u: 1.0,
    "towards_noise": lambda u: 2 * u,
    "towards_image": lambda u: 2 * (1 - u),
}


def gradient(similarity: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """∇_x sim, of every sample by itself, in fp32 whatever precision the networks run in."""
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        x = x.detach().float().requires_grad_()
        return torch.autograd.grad(similarity(x).sum(), x)[0]


def through_denoiser(
    similarity: Callable[[Tensor], Tensor], predict: Callable[[Tensor], Prediction], x_t: Tensor
) -> tuple[Prediction, Tensor]:
    """The prediction and ∇_{x_t} F(x̂_0(x_t)).

    They come from one forward and one backward pass of the denoiser.
    """
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        prediction = predict(x)
        with torch.autocast(x.device.type, enabled=False):
            g = torch.autograd.grad(similarity(prediction.x0.float()).sum(), x)[0]
    weight = None if prediction.weight is None else prediction.weight.detach()
    return prediction._replace(x0=prediction.x0.detach(), weight=weight), g


class Method:
    """How a similarity steers.

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
        select_at: the place in the noise range where it is chosen, in [0, 1].
    """

    # Whether the similarity is asked about x̂_0, so that a clean encoder fits, or about x_t.
    at_clean = False

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
        select_at: float = 0.6,
    ):
        self.gamma = number("guidance.gamma", gamma)
        self.share = GAMMA_SCHEDULES[
            choice("guidance.gamma_schedule", gamma_schedule, GAMMA_SCHEDULES)
        ]
        self.interval = checked_interval("guidance.interval", interval)
        self.normalize = choice("guidance.normalize", normalize, (False, True))
        self.max_norm = None if max_norm is None else number("guidance.max_norm", max_norm, 0)
        self.recurrence = integer("guidance.recurrence", recurrence, 1)
        self.recurrence_interval = checked_interval(
            "guidance.recurrence_interval", recurrence_interval
        )
        self.candidates = integer("guidance.candidates", candidates, 1)
        self.select_at = number("guidance.select_at", select_at, 0, 1)

    def check(self, sampler: Sampler) -> None:
        """Raises a `UserError` for a sampler that this method cannot steer; any by default."""

    def check_steps(self, steps: Sequence[tuple[int, int]], T: int) -> None:
        """Raises a `UserError` where γ is not 0 and still none of these steps (t, s) is guided.

        One to the image itself never is.
        """
        if self.gamma and not any(s >= 0 and within(self.interval, t, T) for t, s in steps):
            low, high = self.interval
            raise UserError(
                f"none of the {len(steps)} steps would be guided: the last one never is, and "
                f"guidance.interval=[{low:g},{high:g}] holds no other. "
                "Take more sampler.steps, a larger strength or a wider interval, or "
                "guidance.gamma=0."
            )
        if self.candidates > 1 and not any(
            s >= 0 and fraction(s, T) <= self.select_at for _, s in steps
        ):
            raise UserError(
                f"guidance.select_at={self.select_at:g}: no step reaches so little noise before "
                "the last, so no candidate would be chosen; raise it, or take more sampler.steps."
            )

    def guide(
        self, similarity: SimilarityFn, schedule: Schedule, sampler: Sampler
    ) -> "Bound | None":
        """Guidance for a batch, or None for γ = 0."""
        self.check(sampler)
        return Bound(self, similarity, schedule, sampler.has_variance) if self.gamma else None

    def shaped(self, g: Tensor) -> Tensor:
        """∇sim, normalised or cut as asked; each sample by itself."""
        if self.normalize:
            g = g / g.square().flatten(1).mean(1).sqrt().clamp(min=1e-12).view(-1, 1, 1, 1)
        if self.max_norm is not None:
            g = g * (self.max_norm / g.flatten(1).norm(dim=1).clamp(min=1e-12)).clamp(max=1).view(
                -1, 1, 1, 1
            )
        return g

    def guide_prediction(
        self,
        bound: "Bound",
        predict: Callable[[Tensor], Prediction],
        x_t: Tensor,
        t: int,
        s: int,
        noise: Callable[[], Tensor],
    ) -> GuidanceOutput:
        """The prediction, moved; by default it is not."""
        return GuidanceOutput(predict(x_t))

    def mean_gradient(
        self, bound: "Bound", mean: Tensor, x_t: Tensor, t: int, s: int
    ) -> Tensor | None:
        """γ∇sim for a sampler to multiply by its Σ; None by default."""
        return None


class Bound:
    """A method with what it steers by: `sdg.diffusion.guide.Guide`."""

    def __init__(
        self, method: Method, similarity: SimilarityFn, schedule: Schedule, has_variance: bool
    ):
        self.method, self.similarity, self.schedule, self.has_variance = (
            method,
            similarity,
            schedule,
            has_variance,
        )

    def gamma(self, t: int) -> float:
        """γ_t."""
        return self.method.gamma * self.method.share(fraction(t, self.schedule.T))

    def active(self, t: int) -> bool:
        return within(self.method.interval, t, self.schedule.T)

    def guide_prediction(
        self,
        predict: Callable[[Tensor], Prediction],
        x_t: Tensor,
        t: int,
        s: int,
        noise: Callable[[], Tensor],
    ) -> GuidanceOutput:
        return (
            self.method.guide_prediction(self, predict, x_t, t, s, noise)
            if self.active(t)
            else GuidanceOutput(predict(x_t))
        )

    def mean_gradient(self, mean: Tensor, x_t: Tensor, t: int, s: int) -> Tensor | None:
        return self.method.mean_gradient(self, mean, x_t, t, s) if self.active(t) else None

    def recurrence_at(self, t: int) -> int:
        return (
            self.method.recurrence
            if self.active(t) and within(self.method.recurrence_interval, t, self.schedule.T)
            else 1
        )


def fraction(t: int, T: int) -> float:
    """u = t/(T−1), the place of a level in the noise range."""
    return t / max(1, T - 1)


def within(interval: tuple[float, float], t: int, T: int) -> bool:
    return interval[0] <= fraction(t, T) <= interval[1]


def checked_interval(key: str, interval: Sequence[float]) -> tuple[float, float]:
    try:
        low, high = interval
    except (TypeError, ValueError):
        raise UserError(
            f"{key} must be two fractions of the noise range, such as [0.2,0.9], not {interval!r}."
        ) from None
    low, high = number(key, low, 0, 1), number(key, high, 0, 1)
    if low > high:
        raise UserError(
            f"{key}=[{low:g},{high:g}] is empty: the first fraction must not be above the second."
        )
    return low, high
