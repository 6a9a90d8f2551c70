"""The forward process q and everything that follows from it alone.

Noise levels are indexed t = 0 … T−1 with ᾱ_0 > ᾱ_1 > …; t = 0 is already slightly noisy and the
clean image is t = −1, ᾱ_{−1} = 1.
"""

import math
from typing import Any

import torch
from torch import Tensor

from sdg.errors import UserError, choice, integer

__all__ = ["ANY_ANGLE", "CLEAN", "KINDS", "SAME_ANGLE", "Schedule"]

CLEAN = -1  # the level of an image without noise
SAME_ANGLE, ANY_ANGLE = 0.05, math.pi / 2  # in radians, of `Schedule.match`
SPACINGS = ("linspace", "leading", "trailing", "towards_noise")
KINDS = ("linear", "cosine")


class Schedule:
    """ᾱ_t of a variance-preserving process q(x_t | x_0) = N(√ᾱ_t x_0, (1−ᾱ_t) I).

    `linear` (Ho et al. 2020, arXiv 2006.11239): β from 1e-4 to 0.02, rescaled by 1000/T.
    `cosine` (Nichol & Dhariwal 2021, arXiv 2102.09672): ᾱ_t = f(t+1)/f(0),
    f(u) = cos²((u/T + 0.008)/1.008 · π/2), β at most 0.999.

    Arguments:
        kind: `linear` or `cosine`.
        T: number of noise levels.
    """

    def __init__(self, kind: str = "cosine", T: int = 1000):
        self.kind, self.T = choice("kind", kind, KINDS), integer("T", T, 1)
        if kind == "linear":
            beta = torch.linspace(1e-4, 0.02, T, dtype=torch.float64) * (1000 / T)
        else:
            u = torch.arange(T + 1, dtype=torch.float64) / T
            f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
            beta = 1 - f[1:] / f[:-1]
        # Index t + 1, so that the clean image t = −1 needs no special case.
        alpha_bar = torch.cat(
            [torch.ones(1, dtype=torch.float64), torch.cumprod(1 - beta.clamp(max=0.999), 0)]
        )
        self._tables = {torch.device("cpu"): alpha_bar}

    @property
    def config(self) -> dict[str, Any]:
        """What rebuilds this schedule; travels with every weight file."""
        return {"kind": self.kind, "T": self.T}

    def alpha_bar(self, t: int | Tensor, device: torch.device | str = "cpu") -> Tensor:
        """ᾱ_t in float64, shape () or (B, 1, 1, 1) to multiply images.

        t is an integer or integers of shape (B,); −1 gives 1.
        """
        device = torch.device(device)
        if device not in self._tables:
            # Apple's devices have no float64.
            self._tables[device] = self._tables[torch.device("cpu")].to(
                device, torch.float32 if device.type == "mps" else torch.float64
            )
        table = self._tables[device]
        return table[t + 1] if isinstance(t, int) else table[t.to(device) + 1].view(-1, 1, 1, 1)

    def q_sample(self, x0: Tensor, t: int | Tensor, noise: Tensor) -> Tensor:
        """x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε.

        It is a draw of q(x_t | x_0) for ε ~ N(0, I), shape (B, C, H, W).
        """
        a = self.alpha_bar(t, x0.device)
        return a.sqrt().to(x0.dtype) * x0 + (1 - a).sqrt().to(x0.dtype) * noise

    def renoise(self, x_s: Tensor, s: int, t: int, noise: Tensor) -> Tensor:
        """q(x_t | x_s) for a noisier level t > s: x_t = √(ᾱ_t/ᾱ_s) x_s + √(1−ᾱ_t/ᾱ_s) ε."""
        ratio = self.alpha_bar(t, x_s.device) / self.alpha_bar(s, x_s.device)
        return ratio.sqrt().to(x_s.dtype) * x_s + (1 - ratio).sqrt().to(x_s.dtype) * noise

    def beta(self, t: int | Tensor, s: int | Tensor, device: torch.device | str = "cpu") -> Tensor:
        """β_{t|s} = 1 − ᾱ_t/ᾱ_s, the variance of q(x_t | x_s)."""
        return 1 - self.alpha_bar(t, device) / self.alpha_bar(s, device)

    def noise(self, x0: Tensor, x_t: Tensor, t: int | Tensor) -> Tensor:
        """ε̂ = (x_t − √ᾱ_t x̂_0)/√(1−ᾱ_t): the noise that x̂_0 leaves in x_t."""
        a = self.alpha_bar(t, x_t.device)
        return (x_t - a.sqrt().to(x_t.dtype) * x0) / (1 - a).sqrt().to(x_t.dtype)

    def posterior_variance(
        self, t: int | Tensor, s: int | Tensor, device: torch.device | str = "cpu"
    ) -> Tensor:
        """β̃ = β_{t|s} (1−ᾱ_s)/(1−ᾱ_t), the variance of q(x_s | x_t, x_0)."""
        return (
            self.beta(t, s, device)
            * (1 - self.alpha_bar(s, device))
            / (1 - self.alpha_bar(t, device))
        )

    def posterior(
        self, x0: Tensor, x_t: Tensor, t: int | Tensor, s: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        """q(x_s | x_t, x_0) = N(μ̃, β̃ I), Ho et al. 2020 eq. 6–7 for any pair s < t.

            μ̃ = √ᾱ_s β/(1−ᾱ_t) x_0 + √(ᾱ_t/ᾱ_s) (1−ᾱ_s)/(1−ᾱ_t) x_t
            β̃ = β (1−ᾱ_s)/(1−ᾱ_t),    β = 1 − ᾱ_t/ᾱ_s

        Returns:
            μ̃, shape (B, C, H, W), and β̃, float64, shape () or (B, 1, 1, 1).
        """
        a_t, a_s = self.alpha_bar(t, x_t.device), self.alpha_bar(s, x_t.device)
        beta = 1 - a_t / a_s
        from_x0 = a_s.sqrt() * beta / (1 - a_t)
        from_xt = (a_t / a_s).sqrt() * (1 - a_s) / (1 - a_t)
        mean = from_x0.to(x0.dtype) * x0 + from_xt.to(x_t.dtype) * x_t
        return mean, beta * (1 - a_s) / (1 - a_t)

    def steps(self, count: int, spacing: str = "linspace") -> list[tuple[int, int]]:
        """The respaced grid as pairs (t, s) from noise to image; the last s is −1.

        `linspace` takes both ends of the range, `leading` starts at t = 0, `trailing` ends at
        t = T−1 (Lin et al. 2023, arXiv 2305.08891, table 2). guided-diffusion's levels are those of
        `linspace`, but that it adds up the stride and so rounds ties otherwise: with T = 1000 one
        level apart for some counts, such as 21, and none of 10, 20, 25, 50, 100 and 250. `leading`
        takes every ⌊T/count⌋-th level also where count does not divide T, which guided-diffusion's
        `ddimN` refuses unless a whole stride gives it. `towards_noise`, ours, takes
        both ends and is densest near the noise, where guided samples decide what they show:

            t_i = min((T−1)(1 − (i/(N−1))²), t_{i−1} − 1),   i = 0 … N−1
        """
        integer("steps", count, 1, self.T)
        choice("spacing", spacing, SPACINGS)
        index = torch.arange(count, dtype=torch.float64)
        if spacing == "towards_noise":
            return self.pairs(self.towards_noise(count))
        if spacing == "linspace" and count == 1:
            levels = torch.tensor([self.T - 1.0])
        elif spacing == "linspace":
            levels = torch.linspace(0, self.T - 1, count, dtype=torch.float64)
        elif spacing == "leading":
            levels = index * (self.T // count)
        else:
            levels = ((index + 1) * (self.T / count)).round() - 1
        return self.pairs(levels.round().long().flip(0).tolist())

    def towards_noise(self, count: int) -> list[int]:
        """`count` levels from T−1 down to 0, dense near T−1."""
        levels = [self.T - 1]
        for i in range(1, count):
            level = round((self.T - 1) * (1 - (i / (count - 1)) ** 2))
            levels.append(min(level, levels[-1] - 1))
        return levels

    @staticmethod
    def pairs(levels: list[int]) -> list[tuple[int, int]]:
        """Each of these falling levels with the next, the last with −1."""
        return list(zip(levels, [*levels[1:], -1], strict=True))

    def match(
        self,
        alpha_bar: Tensor,
        tolerance: float = SAME_ANGLE,
        own: str = "this schedule",
        other: str = "the other one",
    ) -> Tensor:
        """The levels of this schedule whose ᾱ is nearest, compared by the angle arctan(√(1−ᾱ)/√ᾱ).

        The angle treats both ends alike: pure signal is 0, pure noise π/2.

        Arguments:
            alpha_bar: ᾱ of another schedule's levels, shape (N,).
            tolerance: largest angle, in radians, at which two levels still count as the same;
                `ANY_ANGLE` takes the nearest level, however far it is.
            own, other: what the message calls this schedule and the one that is asked about.

        Returns:
            integers, shape (N,).

        Raises:
            UserError: a level has no counterpart here.
        """

        def angle(a: Tensor) -> Tensor:
            return torch.arccos(a.clamp(0, 1).sqrt())

        angles = angle(self._tables[torch.device("cpu")][1:])
        gap, level = (angle(alpha_bar.double())[:, None] - angles).abs().min(1)
        if gap.max() > tolerance:
            unmatched = alpha_bar[gap.argmax()].item()
            raise UserError(
                f"{own} ({self.kind}, T={self.T}) has no level with ᾱ = {unmatched:.4g}, which "
                f"{other} has; use two that were trained with one schedule."
            )
        return level
