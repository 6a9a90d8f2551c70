"""The samplers: DDPM, DDIM, DPM-Solver++ and Heun's, each a reverse step and a grid of levels."""

from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Guide
from sdg.diffusion.noise import NoiseSource
from sdg.diffusion.reverse_steps import ddim_step, ddpm_step, dpm_solver_step, heun_step
from sdg.diffusion.sampler import PrevStep, Sampler, Step
from sdg.errors import number

__all__ = [
    "DDIM",
    "DDPM",
    "DPMSolver",
    "EtaSampler",
    "Heun",
    "ddim_step",
    "ddpm_step",
    "dpm_solver_step",
    "heun_step",
]


class DDPM(Sampler):
    """Ancestral sampling on a respaced grid.

    Arguments:
        steps, spacing: as of `Sampler`.
    """

    has_variance = True

    def __init__(self, steps: int = 100, spacing: str = "linspace"):
        super().__init__(steps, spacing)

    step = staticmethod(ddpm_step)


class EtaSampler(Sampler):
    """A sampler whose noise has the variance Σ = η² β̃.

    Arguments:
        steps, spacing: as of `Sampler`.
        eta: η in [0, 1]; 0 is deterministic, 1 has DDPM's noise. With η > 0 there is a Σ, and
            guidance may take its gradient at the mean; unless that is chosen, it is a score.
    """

    prefers_score = True

    def __init__(self, steps: int, spacing: str, eta: float):
        super().__init__(steps, spacing)
        self.eta = number("eta", eta, 0, 1)
        self.has_variance = self.eta > 0

    @property
    @abstractmethod
    def eta_step(self) -> Callable[..., Step]:
        """The step, which also takes η."""

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
        return self.eta_step(denoiser, x, t, s, noise, guide, past, self.eta)


class DDIM(EtaSampler):
    """DDIM on a respaced grid.

    Arguments:
        steps, spacing, eta: as of `EtaSampler`.
    """

    def __init__(self, steps: int = 50, spacing: str = "linspace", eta: float = 0.0):
        super().__init__(steps, spacing, eta)

    eta_step = staticmethod(ddim_step)


class DPMSolver(EtaSampler):
    """DPM-Solver++(2M), with η = 1 SDE-DPM-Solver++; good from about 20 steps.

    Arguments:
        steps, spacing, eta: as of `EtaSampler`.
    """

    def __init__(self, steps: int = 25, spacing: str = "trailing", eta: float = 0.0):
        super().__init__(steps, spacing, eta)

    eta_step = staticmethod(dpm_solver_step)


class Heun(Sampler):
    """Heun's method, deterministic, two calls of the network in each step but the last.

    Arguments:
        steps, spacing: as of `DDPM`.
    """

    prefers_score = True
    eta = 0.0

    def __init__(self, steps: int = 18, spacing: str = "karras"):
        super().__init__(steps, spacing)

    step = staticmethod(heun_step)
