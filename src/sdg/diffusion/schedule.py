"""The forward process q and everything that follows from it alone.

Noise levels are indexed t = 0 … T−1 with ᾱ_0 > ᾱ_1 > …; t = 0 is already slightly noisy and the
clean image is t = −1, ᾱ_{−1} = 1.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sdg.diffusion.clock import CLOCKS
from sdg.errors import UserError, choice, integer, number

__all__ = ["ANY_ANGLE", "CLEAN", "KINDS", "SAME_ANGLE", "Schedule"]

CLEAN = -1  # the level of an image without noise
SAME_ANGLE, ANY_ANGLE = 0.05, math.pi / 2  # in radians, of `Schedule.match`
WHOLE = ("linspace", "leading", "trailing", "towards_noise")
REAL = ("karras", "log_snr")
SPACINGS = WHOLE + REAL
RHO = 7.0  # of the spacing `karras`
KINDS = tuple(CLOCKS)
WITH_BETAS = ("linear", "scaled_linear")


def check_level(t: float) -> None:
    """Whether t is a level.

    Raises:
        UserError: it is below −1.
    """
    if t < CLEAN:
        raise UserError(f"there is no noise level {t:g}; the clean image is −1.")


class Schedule:
    """ᾱ_t of a variance-preserving process q(x_t | x_0) = N(√ᾱ_t x_0, (1−ᾱ_t) I).

    Every Gaussian process is this one, seen as x/√(α²+σ²): `sdg.diffusion.clock` has the families.

    Arguments:
        kind: `linear`, `scaled_linear`, `cosine`, `linear_continuous`, `cosine_spliced`, `flow` or
            `edm`.
        T: number of noise levels.
        betas: the first and the last β of `linear` or `scaled_linear`, as they are whatever T is;
            None takes the published ones.

    Raises:
        UserError: there is no such kind, T is no positive integer, or there are no such β.
    """

    def __init__(self, kind: str = "cosine", T: int = 1000, betas: Sequence[float] | None = None):
        self.kind, self.T = choice("kind", kind, KINDS), integer("T", T, 1)
        self.betas = None if betas is None else [number("betas", beta, 0, 1) for beta in betas]
        if betas is not None and (kind not in WITH_BETAS or len(betas) != 2):
            raise UserError(
                f"betas must be the first and the last β of {' or '.join(WITH_BETAS)}, not "
                f"{list(betas)} of {kind}."
            )
        self.clock = CLOCKS[kind](T) if betas is None else CLOCKS[kind](T, self.betas)
        # Index t + 1, so that the clean image t = −1 needs no special case.
        alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), self.clock.table()])
        self._tables = {torch.device("cpu"): alpha_bar}

    @property
    def config(self) -> dict[str, Any]:
        """What rebuilds this schedule; travels with every weight file."""
        own = {} if self.betas is None else {"betas": self.betas}
        return {"kind": self.kind, "T": self.T} | own

    def alpha_bar(self, t: float | Tensor, device: torch.device | str = "cpu") -> Tensor:
        """ᾱ_t in float64, shape () or (B, 1, 1, 1) to multiply images.

        t is a level, or levels of shape (B,): whole ones of −1 … T−1, −1 gives 1; or real ones.

        Raises:
            UserError: a level is below −1; of whole ones on a GPU that is not looked at.
        """
        if not isinstance(t, Tensor):
            check_level(t)
            t = int(t) if t == CLEAN else t
        elif t.numel() and (t.is_floating_point() or t.device.type == "cpu"):
            check_level(t.min().item())
        if isinstance(t, float):
            real = self.clock.alpha_bar(torch.tensor(t, dtype=torch.float64))
            return real.to(self.table(device))
        if isinstance(t, Tensor) and t.is_floating_point():
            levels = t.cpu().double()
            real = torch.where(levels == CLEAN, 1.0, self.clock.alpha_bar(levels))
            return real.to(self.table(device)).view(-1, 1, 1, 1)
        table = self.table(device)
        return table[t + 1] if isinstance(t, int) else table[t.to(device) + 1].view(-1, 1, 1, 1)

    def table(self, device: torch.device | str) -> Tensor:
        """ᾱ of the levels −1 … T−1, (T + 1,)."""
        device = torch.device(device)
        if device not in self._tables:
            # Apple's devices have no float64.
            self._tables[device] = self._tables[torch.device("cpu")].to(
                device, torch.float32 if device.type == "mps" else torch.float64
            )
        return self._tables[device]

    def q_sample(self, x0: Tensor, t: float | Tensor, noise: Tensor) -> Tensor:
        """x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε.

        It is a draw of q(x_t | x_0) for ε ~ N(0, I), shape (B, C, H, W).
        """
        a = self.alpha_bar(t, x0.device)
        return a.sqrt().to(x0.dtype) * x0 + (1 - a).sqrt().to(x0.dtype) * noise

    def renoise(self, x_s: Tensor, s: float, t: float, noise: Tensor) -> Tensor:
        """q(x_t | x_s) for a noisier level t > s: x_t = √(ᾱ_t/ᾱ_s) x_s + √(1−ᾱ_t/ᾱ_s) ε."""
        ratio = self.alpha_bar(t, x_s.device) / self.alpha_bar(s, x_s.device)
        return ratio.sqrt().to(x_s.dtype) * x_s + (1 - ratio).sqrt().to(x_s.dtype) * noise

    def beta(
        self, t: float | Tensor, s: float | Tensor, device: torch.device | str = "cpu"
    ) -> Tensor:
        """β_{t|s} = 1 − ᾱ_t/ᾱ_s, the variance of q(x_t | x_s)."""
        return 1 - self.alpha_bar(t, device) / self.alpha_bar(s, device)

    def noise(self, x0: Tensor, x_t: Tensor, t: float | Tensor) -> Tensor:
        """ε̂ = (x_t − √ᾱ_t x̂_0)/√(1−ᾱ_t): the noise that x̂_0 leaves in x_t."""
        a = self.alpha_bar(t, x_t.device)
        return (x_t - a.sqrt().to(x_t.dtype) * x0) / (1 - a).sqrt().to(x_t.dtype)

    def posterior_variance(
        self, t: float | Tensor, s: float | Tensor, device: torch.device | str = "cpu"
    ) -> Tensor:
        """β̃ = β_{t|s} (1−ᾱ_s)/(1−ᾱ_t), the variance of q(x_s | x_t, x_0)."""
        return (
            self.beta(t, s, device)
            * (1 - self.alpha_bar(s, device))
            / (1 - self.alpha_bar(t, device))
        )

    def posterior(
        self, x0: Tensor, x_t: Tensor, t: float | Tensor, s: float | Tensor
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

    def steps(self, count: int, spacing: str = "linspace") -> list[tuple[float, float]]:
        """The respaced grid as pairs (t, s) from noise to image; the last s is −1.

        `linspace` takes both ends of the range, `leading` starts at t = 0, `trailing` ends at
        t = T−1 (Lin et al. 2023, arXiv 2305.08891, table 2). guided-diffusion's levels are those of
        `linspace`, but that it adds up the stride and so rounds ties otherwise: with T = 1000 one
        level apart for some counts, such as 21, and none of 10, 20, 25, 50, 100 and 250. `leading`
        takes every ⌊T/count⌋-th level also where count does not divide T, which guided-diffusion's
        `ddimN` refuses unless a whole stride gives it. `towards_noise`, ours, takes
        both ends and is densest near the noise, where guided samples decide what they show:

            t_i = min((T−1)(1 − (i/(N−1))²), t_{i−1} − 1),   i = 0 … N−1

        Two have real levels, both ends among them. `log_snr` is even in λ (Lu et al. 2022, arXiv
        2206.00927). `karras` is even in σ^⅐, σ = √(1−ᾱ)/√ᾱ (Karras et al. 2022, arXiv 2206.00364,
        eq. 5).

        Raises:
            UserError: there is no such spacing, or the schedule has no `count` levels for it.
        """
        choice("spacing", spacing, SPACINGS)
        if spacing in REAL:
            return self.pairs(self.real_levels(integer("steps", count, 1), spacing))
        integer("steps", count, 1, self.T)
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

    def real_levels(self, count: int, spacing: str) -> list[float]:
        """`count` levels, even in λ or in σ^⅐.

        Where the last level is noise alone, whose λ is infinite, the first step starts there and
        the rest are even from the level before.

        Raises:
            UserError: there are no `count` different ones, as the two ends are one level.
        """
        alpha_bar = self.table("cpu")
        ends = alpha_bar[-1], alpha_bar[1]
        alone = [] if ends[0] > 0 else [float(self.T - 1)]
        if alone:
            ends = alpha_bar[-2], alpha_bar[1]
        log_snr = torch.logit(torch.stack(ends))
        power = -1 / (2 * RHO)
        even = log_snr if spacing == "log_snr" else (log_snr * power).exp()
        points = torch.lerp(
            even[0], even[1], torch.linspace(0, 1, count - len(alone), dtype=torch.float64)
        )
        if spacing == "karras":
            points = points.log() / power
        levels: list[float] = self.clock.level(torch.sigmoid(points)).clamp(0, self.T - 1).tolist()
        levels = alone + levels
        if not all(later < level for level, later in itertools.pairwise(levels)):
            raise UserError(
                f"steps={count}: a {self.kind} schedule with T={self.T} has no {count} different "
                f"levels of spacing {spacing}; take fewer steps, or a schedule of more levels.",
                "steps",
            )
        return levels

    @staticmethod
    def pairs(levels: Sequence[float]) -> list[tuple[float, float]]:
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
