"""One reverse step each, as a function of (x_t, t, s, noise).

There are two places where guidance enters.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import GuidanceOutput, Guide, Prediction
from sdg.diffusion.sampler import NoiseSource, PrevStep, Sampler, Selector, Source, Step
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, number

__all__ = [
    "DDIM",
    "DDPM",
    "DPMSolver",
    "GUIDANCE_STREAM",
    "Noise",
    "NoiseSource",
    "PrevStep",
    "Sampler",
    "Step",
    "ddim_step",
    "ddpm_step",
    "dpm_solver_step",
    "guided_x0",
    "sample",
    "steps_taken",
]


# Turns a sample's seed into that of its second stream, guidance's own: the sampler's noise is the
# same whatever guides.
GUIDANCE_STREAM = 0x5D6


class Noise:
    """Standard normal draws, every sample from a generator of its own.

    No sample depends on which others share its batch.

    The generators live on the CPU, whose stream is the same on every machine and for every device.

    Arguments:
        seeds: one integer per sample, at least 0.
        shape: of one sample, (C, H, W).
    """

    def __init__(
        self,
        seeds: Iterable[int],
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
    ):
        seeds = list(seeds)
        self.generators = {
            stream: [torch.Generator().manual_seed(seed ^ stream) for seed in seeds]
            for stream in (0, GUIDANCE_STREAM)
        }
        self.shape, self.device = shape, device

    def __call__(self, stream: int = 0) -> Tensor:
        """The next draw of the sampler's stream, 0, or of `GUIDANCE_STREAM`, shape (B, C, H, W)."""
        return torch.stack(
            [torch.randn(self.shape, generator=g) for g in self.generators[stream]]
        ).to(self.device)

    def rows(self, rows: Sequence[int]) -> "Noise":
        """The sources of these samples, which go on where they are."""
        chosen = Noise((), self.shape, self.device)
        chosen.generators = {
            stream: [generators[row] for row in rows]
            for stream, generators in self.generators.items()
        }
        return chosen


def guided_prediction(
    denoiser: Denoiser, x: Tensor, t: int, s: int, noise: NoiseSource, guide: Guide | None
) -> GuidanceOutput:
    if guide is None or s < 0:
        return GuidanceOutput(denoiser.predict(x, t))
    return guide.guide_prediction(
        lambda x_t: denoiser.predict(x_t, t), x, t, s, lambda: noise(GUIDANCE_STREAM)
    )


def apply_guidance(
    denoiser: Denoiser, steering: GuidanceOutput, x: Tensor, t: int
) -> tuple[Tensor, Tensor]:
    """x̂_0 moved by the score, which ε̂ follows, and x̂_0 + shift besides.

    The score moves ε̂ as in Dhariwal & Nichol 2021, alg. 2: ε̂ = ε_θ − √(1−ᾱ_t) · score.
    """
    x0 = steering.prediction.x0
    if steering.score is not None:
        a = denoiser.schedule.alpha_bar(t, x.device)
        x0 = x0 + ((1 - a) / a.sqrt()).to(x.dtype) * steering.score
    x0 = denoiser.bounded(x0)
    return x0, x0 if steering.shift is None else denoiser.bounded(x0 + steering.shift)


def guided_x0(
    denoiser: Denoiser, x: Tensor, t: int, s: int, noise: NoiseSource, guide: Guide | None
) -> tuple[Tensor, Tensor]:
    """x̂_0 of one call of the network, moved by guidance's score; and x̂_0 + shift.

    The first is what ε̂ follows from, `denoiser.schedule.noise(x0, x, t)`; the second is what the
    step goes to. Both are clipped as the denoiser says, shape (B, C, H, W).

    Arguments:
        as of `Sampler.step`.
    """
    return apply_guidance(denoiser, guided_prediction(denoiser, x, t, s, noise, guide), x, t)


def ddpm_step(
    denoiser: Denoiser,
    x: Tensor,
    t: int,
    s: int,
    noise: NoiseSource,
    guide: Guide | None = None,
    past: PrevStep | None = None,
) -> Step:
    """The guided ancestral step.

    It is that of Liu et al. 2022 (arXiv 2112.05744, alg. 1), unguided that of Ho et al. 2020
    (arXiv 2006.11239, alg. 2):

        x_s = μ_θ(x_t, t) + Σ γ∇sim + Σ^½ z

    A `GuidanceOutput` of the prediction acts before: the score moves x̂_0, and μ_θ with it; a shift
    is added to x_s, √ᾱ_s times, as in DDIM. The step to s = −1 is neither guided nor noised:
    x_s = x̂_0.

    Arguments:
        x: x_t, shape (B, C, H, W).
        t: the level of `x`, 0 … T−1.
        s: the next, less noisy one, −1 … t−1.
        noise: gives z ~ N(0, I), shape of `x`.
        guide: guidance; None is the unguided sampler.
        past: not used; one step needs no other.

    Returns:
        x_s, and the x̂_0 that it was made from, both shaped as `x`.
    """
    z = noise()
    steering = guided_prediction(denoiser, x, t, s, noise, guide)
    x0, shifted = apply_guidance(denoiser, steering, x, t)
    mean, variance = denoiser.reverse(Prediction(x0, steering.prediction.weight), x, t, s)
    if s < 0:
        return Step(mean, x0)
    moved = mean + denoiser.schedule.alpha_bar(s, x.device).sqrt().to(x.dtype) * (shifted - x0)
    gradient = guide.mean_gradient(mean, x, t, s) if guide is not None else None
    if gradient is not None:
        moved = moved + variance * gradient
    return Step(moved + variance.sqrt() * z, shifted)


def ddim_step(
    denoiser: Denoiser,
    x: Tensor,
    t: int,
    s: int,
    noise: NoiseSource,
    guide: Guide | None = None,
    past: PrevStep | None = None,
    eta: float = 0.0,
) -> Step:
    """The step of DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12).

        x_s = √ᾱ_s x̂_0 + √(1−ᾱ_s−σ²) ε̂ + σ z,   σ = η √β̃

    Guidance's score moves x̂_0 and, with it, ε̂; its shift moves x̂_0 alone.

    Arguments:
        eta: η in [0, 1]; 0 is deterministic, 1 has DDPM's noise.
        others, and what is returned: as of `ddpm_step`.
    """
    z = noise()
    x0, shifted = guided_x0(denoiser, x, t, s, noise, guide)
    a = denoiser.schedule.alpha_bar(s, x.device)
    variance = eta**2 * denoiser.schedule.posterior_variance(t, s, x.device)
    x_s = (
        a.sqrt().to(x.dtype) * shifted
        + (1 - a - variance).clamp(min=0).sqrt().to(x.dtype) * denoiser.schedule.noise(x0, x, t)
        + variance.sqrt().to(x.dtype) * z
    )
    return Step(x_s, shifted)


def dpm_solver_step(
    denoiser: Denoiser,
    x: Tensor,
    t: int,
    s: int,
    noise: NoiseSource,
    guide: Guide | None = None,
    past: PrevStep | None = None,
) -> Step:
    """The step of DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, alg. 2).

    With λ = log(√ᾱ/√(1−ᾱ)), h = λ_s − λ_t and r = (λ_t − λ_past)/h it is

        x_s = √(1−ᾱ_s)/√(1−ᾱ_t) x_t + √ᾱ_s (1 − e^{−h}) [x̂_0 + (x̂_0 − x̂_0,past)/(2r)]

    The first step and the last, where λ_s is infinite and x_s = x̂_0, are of first order. A shift
    of x̂_0 is no part of what is extrapolated: it is added to the result, √ᾱ_s times, as in the
    other samplers.

    Arguments:
        noise: not drawn from, but for guidance's own use.
        past: the step before; None makes this one of first order.
        others: as of `ddpm_step`.

    Returns:
        x_s, and the x̂_0 to extrapolate from at the next step.
    """
    x0, shifted = guided_x0(denoiser, x, t, s, noise, guide)
    if s < 0:
        return Step(x0, x0)

    def half_log_snr(level: int) -> Tensor:
        a = denoiser.schedule.alpha_bar(level, x.device)
        return (a.log() - (1 - a).log()) / 2

    a_t, a_s = (denoiser.schedule.alpha_bar(level, x.device) for level in (t, s))
    h, ahead = half_log_snr(s) - half_log_snr(t), x0
    if past is not None:
        r = (half_log_snr(t) - half_log_snr(past.t)) / h
        ahead = x0 + (x0 - past.x0) / (2 * r).to(x.dtype)
    decay = ((1 - a_s) / (1 - a_t)).sqrt()
    x_s = decay.to(x.dtype) * x - (a_s.sqrt() * torch.expm1(-h)).to(x.dtype) * ahead
    return Step(x_s + a_s.sqrt().to(x.dtype) * (shifted - x0), x0)


class DDPM(Sampler):
    """Ancestral sampling on a respaced grid.

    Arguments:
        steps: of the grid, at most T.
        spacing: `linspace`, `leading` or `trailing`: see `Schedule.steps`.
    """

    has_variance = True

    def __init__(self, steps: int = 100, spacing: str = "linspace"):
        super().__init__(steps, spacing)

    step = staticmethod(ddpm_step)


class DDIM(Sampler):
    """DDIM on a respaced grid.

    Arguments:
        steps, spacing: as of `DDPM`.
        eta: η in [0, 1]; 0 is deterministic, 1 has DDPM's noise.
    """

    def __init__(self, steps: int = 50, spacing: str = "linspace", eta: float = 0.0):
        super().__init__(steps, spacing)
        self.eta = number("sampler.eta", eta, 0, 1)

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
        return ddim_step(denoiser, x, t, s, noise, guide, past, self.eta)


class DPMSolver(Sampler):
    """DPM-Solver++(2M), deterministic; good from about 20 steps.

    Arguments:
        steps, spacing: as of `DDPM`.
    """

    def __init__(self, steps: int = 25, spacing: str = "trailing"):
        super().__init__(steps, spacing)

    step = staticmethod(dpm_solver_step)


def steps_taken(
    schedule: Schedule, sampler: Sampler, strength: float = 1.0
) -> list[tuple[int, int]]:
    """The steps (t, s) of a run.

    They are all of a sampler's, or the last share of them, at least one, for a start from an image.
    """
    steps = sampler.grid(schedule)
    return steps[-max(1, round(strength * len(steps))) :]


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    sampler: Sampler,
    noise: Source,
    guide: Guide | None = None,
    start: Tensor | None = None,
    strength: float = 1.0,
    on_step: Callable[[int, Step], None] = lambda done, step: None,
    selection: Selector[Source] | None = None,
) -> Tensor:
    """Runs the reverse process from x_T ~ N(0, I), or from noised images.

    Arguments:
        sampler: one of this module's, or of your own.
        noise: every sample's own source.
        guide: guidance, or None. Where it repeats a step, q(x_t | x_s) lies between (Lugmayr et al.
            2022, arXiv 2201.09865).
        start: images in [-1, 1], shape (B, C, H, W), to start from, noised by q (SDEdit: Meng et
            al. 2022, arXiv 2108.01073).
        strength: with `start`, the share of the steps that are taken, in (0, 1]: how far it may be
            left. The level that these begin at depends on the sampler's spacing: with 10 steps and
            0.6 it is 555 of 0 … 999 by linspace, 599 by trailing.
        on_step: told how many steps are done, and the last one; of several candidates the first.
        selection: K candidates for each sample, as `sdg.guidance.selection.Selection`; `noise`,
            `guide` and `start` are then of K · B rows. None is one for each.

    Returns:
        images in [-1, 1], shape (B, C, H, W).

    Raises:
        UserError: the samples are no longer finite, as with a γ that is far too large.
    """
    steps, x, past = (
        steps_taken(denoiser.schedule, sampler, 1.0 if start is None else strength),
        noise(),
        None,
    )
    if start is not None:
        x = denoiser.schedule.q_sample(start, steps[0][0], x)
    for done, (t, s) in enumerate(steps, 1):
        repeats = guide.recurrence_at(t) if guide is not None and s >= 0 else 1
        for repeat in range(repeats):
            step = sampler.step(denoiser, x, t, s, noise, guide, past)
            if repeat + 1 < repeats:
                x = denoiser.schedule.renoise(step.x, s, t, noise())
        x, past = step.x, PrevStep(t, step.x0)
        if not x.isfinite().all():
            raise UserError(
                f"the samples overflowed at step {done} of {len(steps)}; "
                + ("lower guidance.gamma." if guide else "are these the denoiser's weights?")
            )
        if selection is not None and s >= 0 and selection.due(s):
            rows, noise, guide = selection(step, noise)
            step, selection = Step(step.x[rows], step.x0[rows]), None
            x, past = step.x, PrevStep(t, step.x0)
        one = step if selection is None else Step(*(v[:: selection.candidates] for v in step))
        on_step(done, one)
    return x.clamp(-1, 1)
