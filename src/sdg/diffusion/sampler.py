"""What a sampler is: a grid of noise levels, and one reverse step."""

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Guide
from sdg.diffusion.schedule import Schedule
from sdg.errors import integer

__all__ = ["NoiseSource", "PrevStep", "Sampler", "Selector", "Step"]


class NoiseSource(Protocol):
    """Standard normal draws of one batch, every sample from a stream of its own."""

    def __call__(self, stream: int = 0) -> Tensor:
        """The next draw of a stream, shape (B, C, H, W).

        Stream 0 is the sampler's, `GUIDANCE_STREAM` is guidance's: what guidance draws changes
        nothing in what the sampler draws.
        """


class PrevStep(NamedTuple):
    """The step before: its level and its x̂_0."""

    t: int
    x0: Tensor


class Step(NamedTuple):
    """A step's result x_s and the x̂_0 that it was made from (of DPM-Solver++ before a shift)."""

    x: Tensor
    x0: Tensor


Source = TypeVar("Source", bound=NoiseSource)


class Selector(Protocol[Source]):
    """The choice among several candidates for each sample, as `sample` sees it."""

    candidates: int

    def due(self, s: int) -> bool:
        """Whether the choice is made at level s, or has been made before."""

    def __call__(self, step: Step, noise: Source) -> tuple[Tensor, Source, Guide | None]:
        """The candidates' rows that stay, their noise and their guidance."""


class Sampler(ABC):
    """One way to run the reverse process.

    Arguments:
        steps: of the grid, 1 … T.
        spacing: `linspace`, `leading` or `trailing`: see `Schedule.steps`.
    """

    # Whether a step adds noise of the variance Σ. Guidance's `mean_gradient`, which is multiplied
    # by Σ, is asked for only then; other samplers take guidance as a score at x_t.
    has_variance = False

    def __init__(self, steps: int, spacing: str = "linspace"):
        self.steps, self.spacing = integer("sampler.steps", steps, 1), spacing

    def grid(self, schedule: Schedule) -> list[tuple[int, int]]:
        """The steps (t, s) of a whole run, from t = T−1 or below down to s = −1, the image."""
        return schedule.steps(self.steps, self.spacing)

    @abstractmethod
    def step(
        self,
        denoiser: Denoiser,
        x: Tensor,
        t: int,
        s: int,
        noise: NoiseSource,
        guide: Guide | None = None,
        past: PrevStep | None = None,
    ) -> Step:
        """The step from level t to level s < t; s = −1 gives the image.

        `sdg.diffusion.samplers.guided_x0` calls the network and lets guidance act.

        Arguments:
            x: x_t, shape (B, C, H, W).
            t, s: levels of the denoiser's schedule.
            noise: gives z ~ N(0, I), shape of `x`.
            guide: guidance; None is the unguided sampler.
            past: the step before; None at the first one.

        Returns:
            x_s, and the x̂_0 that it was made from, both shaped as `x`.
        """
