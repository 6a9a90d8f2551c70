"""The reverse process from noise to image, step by step."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Guide, guide_of_step
from sdg.diffusion.noise import NoiseSource
from sdg.diffusion.sampler import PrevStep, Sampler, Step
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, number

__all__ = ["Selector", "checked_strength", "sample", "steps_taken"]

Source = TypeVar("Source", bound=NoiseSource)
CHECK_EVERY = 10  # steps on a GPU, which has to be waited for to know whether samples are finite


class Selector(Protocol[Source]):
    """The choice among several candidates for each sample, as `sample` sees it."""

    candidates: int

    def due(self, s: int) -> bool:
        """Whether the choice is made at level s, or has been made before."""

    def __call__(self, step: Step, noise: Source) -> tuple[Tensor, Source, Guide | None]:
        """The candidates' rows that stay, their noise and their guidance."""


def checked_strength(strength: float) -> float:
    """The share of the steps that are taken from an image.

    Raises:
        UserError: it is not in (0, 1].
    """
    if number("strength", strength) > 1 or strength <= 0:
        raise UserError(f"strength must be above 0 and at most 1, not {strength!r}.")
    return float(strength)


def steps_taken(
    schedule: Schedule, sampler: Sampler, strength: float = 1.0
) -> list[tuple[int, int]]:
    """The steps (t, s) of a run.

    They are all of a sampler's, or the last share of them, at least one, for a start from an image.

    Raises:
        UserError: the sampler has more steps than the schedule levels, or the share is not in
            (0, 1].
    """
    steps = sampler.grid(schedule)
    return steps[-max(1, round(checked_strength(strength) * len(steps))) :]


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
        sampler: one of `sdg.diffusion.samplers`, or of your own.
        noise: every sample's own source.
        guide: guidance, or None. Where it repeats a step, q(x_t | x_s) lies between (Lugmayr et al.
            2022, arXiv 2201.09865).
        start: images in [-1, 1], shape (B, C, H, W), to start from, noised by q (SDEdit: Meng et
            al. 2022, arXiv 2108.01073).
        strength: with `start`, the share of the steps that are taken, in (0, 1]: how far it may be
            left. The level that these begin at depends on the sampler's spacing: with 10 steps and
            0.6 it is 555 of 0 … 999 by linspace, 599 by trailing.
        on_step: is given how many steps are done, and the last one; of several candidates the
            first.
        selection: K candidates for each sample, as `sdg.guidance.selection.Selection`; `noise`,
            `guide` and `start` are then of K · B rows. None is one for each.

    Returns:
        images in [-1, 1], shape (B, C, H, W). They are clamped to it at the end, also those of a
        denoiser that does not clip x̂_0.

    Raises:
        UserError: the samples are no longer finite, as with a γ that is far too large.
    """
    steps = steps_taken(denoiser.schedule, sampler, 1.0 if start is None else strength)
    x, past = noise(), None
    if start is not None:
        x = denoiser.schedule.q_sample(start, steps[0][0], x)
    for done, (t, s) in enumerate(steps, 1):
        acting = guide_of_step(guide, s)
        times = 0 if acting is None else acting.guided_repeats(t)
        times = times if s >= 0 else min(times, 1)
        acting = acting if times else None
        step = checked_step(sampler, denoiser, x, t, s, noise, acting, past)
        for _ in range(times - 1):
            x = denoiser.schedule.renoise(step.x, s, t, noise())
            step = checked_step(sampler, denoiser, x, t, s, noise, acting, past)
        x, past = step.x, PrevStep(t, step.x0)
        looks = x.device.type == "cpu" or done % CHECK_EVERY == 0 or done == len(steps)
        if looks and not x.isfinite().all():
            advice = "lower gamma." if guide else "are these the denoiser's weights?"
            raise UserError(f"the samples overflowed by step {done} of {len(steps)}; {advice}")
        if selection is not None and s >= 0 and selection.due(s):
            rows, noise, guide = selection(step, noise)
            step, selection = Step(step.x[rows], step.x0[rows]), None
            x, past = step.x, PrevStep(t, step.x0)
        candidates = 1 if selection is None else selection.candidates
        on_step(done, Step(step.x[::candidates], step.x0[::candidates]))
    return x.clamp(-1, 1)


def checked_step(
    sampler: Sampler,
    denoiser: Denoiser,
    x: Tensor,
    t: int,
    s: int,
    noise: NoiseSource,
    guide: Guide | None,
    past: PrevStep | None,
) -> Step:
    """`sampler.step`, of the same arguments.

    Raises:
        UserError: it gives no `Step`, or images of another shape.
    """
    step = sampler.step(denoiser, x, t, s, noise, guide, past)
    name = type(sampler).__name__
    if not isinstance(step, Step):
        raise UserError(f"{name}.step gave {type(step).__name__}; it must give a Step(x, x0).")
    for field, images in zip(("x", "x0"), step, strict=True):
        shape = tuple(images.shape) if isinstance(images, Tensor) else None
        if shape != x.shape:
            given = f"of shape {shape}" if shape else f"as {type(images).__name__}"
            raise UserError(
                f"{name}.step gave {field} {given}; it must be a tensor of x_t's shape, "
                f"{tuple(x.shape)}."
            )
    return step
