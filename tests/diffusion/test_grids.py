"""The grid of every sampler in every process: levels that fall, or a refusal in one line."""

import itertools
import math

import pytest
import torch
from gaussian import Perfect
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.samplers import DDIM, DDPM, DPMSolver, Heun
from sdg.diffusion.sampling import sample
from sdg.diffusion.schedule import KINDS, REAL, SPACINGS, Schedule
from sdg.errors import UserError

SAMPLERS = (DDPM, DDIM, DPMSolver, Heun)
bounded = settings(deadline=None, derandomize=True, database=None, max_examples=300)


def grid_of(cls, kind, T, spacing, steps):
    """The grid, or None of what is refused in one line that names the parameter."""
    try:
        return cls(steps, spacing).grid(Schedule(kind, T))
    except UserError as error:
        assert str(error).startswith("steps") and "\n" not in str(error)
        return None


@bounded
@given(
    st.sampled_from(SAMPLERS),
    st.sampled_from(KINDS),
    st.integers(1, 12) | st.sampled_from([999, 1000]),
    st.sampled_from(SPACINGS),
    st.sampled_from([1, 2, 3, 4, 5, 10]),
)
@example(Heun, "flow", 1, "karras", 1)
@example(Heun, "flow", 1, "karras", 2)
@example(Heun, "flow", 2, "log_snr", 2)
@example(Heun, "flow", 2, "log_snr", 3)
@example(DDIM, "linear", 1, "karras", 2)
def test_levels_are_finite_and_fall_or_are_refused(cls, kind, T, spacing, steps):
    grid = grid_of(cls, kind, T, spacing, steps)
    if grid is None:
        # Real levels lie between any two; a flow's last one is noise alone and no end of them.
        assert steps > T or (spacing in REAL and T <= (2 if kind == "flow" else 1) < steps)
        return
    levels = [t for t, _ in grid]
    assert len(grid) == steps and [s for _, s in grid] == [*levels[1:], -1]
    assert all(math.isfinite(t) and 0 <= t <= T - 1 for t in levels)
    assert all(later < level for level, later in itertools.pairwise(levels))
    alpha_bar = [Schedule(kind, T).alpha_bar(t).item() for t in levels]
    assert all(later > level for level, later in itertools.pairwise(alpha_bar))


def ones():
    return torch.ones(1, 3, 1, 1, dtype=torch.float64)


@pytest.mark.parametrize("cls", SAMPLERS)
@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_finite_whatever_the_grid(cls, kind):
    for T, spacing, steps in itertools.product((1, 2, 5, 1000), SPACINGS, (1, 2, 3, 4, 5, 10)):
        if grid_of(cls, kind, T, spacing, steps) is None:
            continue
        schedule = Schedule(kind, T)
        denoiser = Denoiser(Perfect(schedule), schedule, "x0", clip=False)
        assert sample(denoiser, cls(steps, spacing), ones).isfinite().all()
