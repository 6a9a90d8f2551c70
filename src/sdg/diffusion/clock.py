"""λ of a real level, and the level of a λ: one clock for every family of processes.

A Gaussian process x = α x_0 + σ ε is told apart by λ = log(α²/σ²) alone (Kingma et al. 2021,
arXiv 2107.00630): x/√(α²+σ²) is an image of the variance-preserving process with
ᾱ = α²/(α²+σ²) = 1/(1+e^{−λ}). Levels are numbered 0 … T−1 in each family, −1 is the clean image,
and the real numbers between are levels too.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sdg.diffusion.parametrisation import SIGMA_DATA

__all__ = ["CLOCKS", "Clock"]


class Clock(ABC):
    """The levels of one family.

    Arguments:
        T: how many whole levels there are.
    """

    ends_in_noise = False  # whether the last level is noise alone, ᾱ = 0

    def __init__(self, T: int):
        self.T = T

    def table(self) -> Tensor:
        """ᾱ of the levels 0 … T−1, float64, (T,)."""
        return self.alpha_bar(torch.arange(self.T, dtype=torch.float64))

    @abstractmethod
    def alpha_bar(self, t: Tensor) -> Tensor:
        """ᾱ of real levels in [0, T−1], float64, of any shape."""

    @abstractmethod
    def level(self, alpha_bar: Tensor) -> Tensor:
        """The real levels that have these ᾱ, float64, of any shape."""

    def draw(
        self,
        count: int,
        generator: torch.Generator | None = None,
        sigma_data: float = SIGMA_DATA,
    ) -> Tensor:
        """The levels that training draws, (count,): of these families whole ones, all alike.

        Arguments:
            sigma_data: σ_d, the deviation of the data; EDM's noise is drawn in units of it.
        """
        return torch.randint(self.T, (count,), generator=generator)


class TableClock(Clock):
    """A discrete process of T levels, ᾱ between two of them by a straight line in λ."""

    def __init__(self, T: int, beta: Tensor):
        super().__init__(T)
        self.products = torch.cumprod(1 - beta.clamp(max=0.999), 0)

    def table(self) -> Tensor:
        return self.products

    def alpha_bar(self, t: Tensor) -> Tensor:
        log_snr = torch.logit(self.products)
        below = t.floor().long().clamp(0, max(0, self.T - 2))
        above = (below + 1).clamp(max=self.T - 1)
        return torch.sigmoid(torch.lerp(log_snr[below], log_snr[above], t - below))

    def level(self, alpha_bar: Tensor) -> Tensor:
        falling = torch.logit(self.products)
        log_snr = torch.logit(alpha_bar).clamp(falling[-1], falling[0])
        above = torch.searchsorted(-falling, -log_snr).clamp(1, max(1, self.T - 1))
        above = above.clamp(max=self.T - 1)
        below = (above - 1).clamp(min=0)
        span = (falling[below] - falling[above]).clamp(min=1e-12)
        return below + (falling[below] - log_snr) / span


class LinearClock(TableClock):
    """β from 1e-4 to 0.02, rescaled by 1000/T (Ho et al. 2020, arXiv 2006.11239).

    Arguments:
        betas: the first and the last β, as they are, instead of these.
    """

    def __init__(self, T: int, betas: Sequence[float] | None = None):
        low, high = betas or (1e-4, 0.02)
        scale = 1.0 if betas else 1000 / T
        super().__init__(T, torch.linspace(low, high, T, dtype=torch.float64) * scale)


class ScaledLinearClock(TableClock):
    """√β from √0.00085 to √0.012, β rescaled by 1000/T: Stable Diffusion's.

    The form is that of latent diffusion (Rombach et al. 2022, arXiv 2112.10752).

    Arguments:
        betas: the first and the last β, as they are, instead of these.
    """

    def __init__(self, T: int, betas: Sequence[float] | None = None):
        low, high = betas or (0.00085, 0.012)
        scale = 1.0 if betas else 1000 / T
        roots = torch.linspace(low**0.5, high**0.5, T, dtype=torch.float64)
        super().__init__(T, roots**2 * scale)


class CosineClock(TableClock):
    """ᾱ_t = f(t+1)/f(0), f(u) = cos²((u/T + 0.008)/1.008 · π/2), β at most 0.999.

    That is Nichol & Dhariwal 2021 (arXiv 2102.09672).
    """

    def __init__(self, T: int):
        u = torch.arange(T + 1, dtype=torch.float64) / T
        f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        super().__init__(T, 1 - f[1:] / f[:-1])


class LinearContinuousClock(Clock):
    """ᾱ = exp(−10⁻⁴ − 10 u²), u = (t + 1)/T: β that rise linearly, in continuous time.

    It is the limit of `LinearClock` for many levels, with β from 0: the schedule of the models of
    v-diffusion that were ported from JAX.
    """

    floor, rate = 1e-4, 10.0

    def alpha_bar(self, t: Tensor) -> Tensor:
        u = (t.double() + 1) / self.T
        return torch.exp(-self.floor - self.rate * u**2)

    def level(self, alpha_bar: Tensor) -> Tensor:
        u = ((-alpha_bar.double().log() - self.floor).clamp(min=0) / self.rate).sqrt()
        return self.T * u - 1


class CosineSplicedClock(Clock):
    """ᾱ = cos²(π w/2) up to w_c = 0.80074257, then `LinearContinuousClock`'s: v-diffusion's grid.

        w = 1.31537545 (t + 1)/T,   beyond w_c ᾱ = exp(−10⁻⁴ − 10 (w − w_c + 0.48536712)²)

    The cosine alone would end in noise alone; this one ends at ᾱ = exp(−10⁻⁴ − 10).
    """

    of_cosine, of_linear = 0.80074257, 0.48536712  # where both have one λ
    length = 1 + of_cosine - of_linear

    def alpha_bar(self, t: Tensor) -> Tensor:
        w = self.length * (t.double() + 1) / self.T
        linear = LinearContinuousClock(1).alpha_bar(w - self.of_cosine + self.of_linear - 1)
        return torch.where(w < self.of_cosine, torch.cos(w * math.pi / 2) ** 2, linear)

    def level(self, alpha_bar: Tensor) -> Tensor:
        cosine = 2 / math.pi * torch.arccos(alpha_bar.double().clamp(0, 1).sqrt())
        linear = LinearContinuousClock(1).level(alpha_bar) + 1 + self.of_cosine - self.of_linear
        return self.T * torch.where(cosine < self.of_cosine, cosine, linear) / self.length - 1


class FlowClock(Clock):
    """Rectified flow (Liu et al. 2022, arXiv 2209.03003): α = 1 − τ, σ = τ, τ = (t + 1)/T.

    The last level, τ = 1, is noise alone.
    """

    ends_in_noise = True

    def alpha_bar(self, t: Tensor) -> Tensor:
        tau = (t.double() + 1) / self.T
        return (1 - tau) ** 2 / ((1 - tau) ** 2 + tau**2)

    def level(self, alpha_bar: Tensor) -> Tensor:
        signal, noise = alpha_bar.double().sqrt(), (1 - alpha_bar.double()).sqrt()
        return self.T * noise / (signal + noise) - 1

    def draw(
        self,
        count: int,
        generator: torch.Generator | None = None,
        sigma_data: float = SIGMA_DATA,
    ) -> Tensor:
        """Levels of τ = 1/(1 + e^{−n}), n ~ N(0, 1): Esser et al. 2024 (arXiv 2403.03206)."""
        tau = torch.sigmoid(torch.randn(count, generator=generator, dtype=torch.float64))
        return (self.T * tau - 1).float()


class EDMClock(Clock):
    """Karras et al. 2022 (arXiv 2206.00364), eq. 5: α = 1, σ from 0.002 to 80, ρ = 7.

    σ_t = (σ_min^{1/ρ} + t/(T−1) (σ_max^{1/ρ} − σ_min^{1/ρ}))^ρ
    """

    low, high, rho = 0.002, 80.0, 7.0

    def __init__(self, T: int):
        super().__init__(T)
        self.first = self.low ** (1 / self.rho)
        self.step = (self.high ** (1 / self.rho) - self.first) / max(1, T - 1)

    def alpha_bar(self, t: Tensor) -> Tensor:
        sigma: Tensor = (self.first + t.double() * self.step) ** self.rho
        return 1 / (1 + sigma**2)

    def level(self, alpha_bar: Tensor) -> Tensor:
        sigma = ((1 - alpha_bar.double()) / alpha_bar.double()).sqrt()
        level: Tensor = (sigma ** (1 / self.rho) - self.first) / self.step
        return level

    def draw(
        self,
        count: int,
        generator: torch.Generator | None = None,
        sigma_data: float = SIGMA_DATA,
    ) -> Tensor:
        """Levels of log(σ/2σ_d) ~ N(−1.2, 1.2²), within the paper's range of σ.

        With σ_d = 0.5 that is table 1 of the paper; other data are the same in other units.
        """
        normal = torch.randn(count, generator=generator, dtype=torch.float64)
        sigma = torch.exp(1.2 * normal - 1.2) * (sigma_data / SIGMA_DATA)
        sigma = sigma.clamp(self.low, self.high)
        return self.level(1 / (1 + sigma**2)).float()


CLOCKS: dict[str, Callable[..., Clock]] = {
    "linear": LinearClock,
    "scaled_linear": ScaledLinearClock,
    "cosine": CosineClock,
    "linear_continuous": LinearContinuousClock,
    "cosine_spliced": CosineSplicedClock,
    "flow": FlowClock,
    "edm": EDMClock,
}
