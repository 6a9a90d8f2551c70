"""q(x_t | x_0), its grids and its posterior, against Bayes' rule and diffusers."""

import itertools

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from sdg.diffusion.schedule import ANY_ANGLE, Schedule
from sdg.diffusion.schedule import KINDS as OURS
from sdg.errors import UserError

KINDS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}  # ours: diffusers'


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def angle(alpha_bar):
    return torch.atan2((1 - alpha_bar).sqrt(), alpha_bar.sqrt())


@pytest.mark.parametrize("kind", KINDS)
def test_alpha_bar_equals_diffusers(kind):
    theirs = torch.cumprod(1 - DDPMScheduler(1000, beta_schedule=KINDS[kind]).betas.double(), 0)
    ours = Schedule(kind, 1000).alpha_bar(torch.arange(1000)).flatten()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)  # their β are fp32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("T", [20, 1000, 4000])
def test_alpha_bar_falls_from_one_towards_zero(kind, T):
    levels = Schedule(kind, T).alpha_bar(torch.arange(-1, T)).flatten()
    assert levels[0] == 1 and (levels.diff() < 0).all() and 0 < levels[-1] < 1e-3


def test_rescaled_linear_schedule_is_the_same_process_on_a_finer_grid():
    coarse, fine = Schedule("linear", 1000), Schedule("linear", 4000)
    levels = torch.arange(9, 1000, 10)
    gap = angle(coarse.alpha_bar(levels)) - angle(fine.alpha_bar(4 * levels + 3))
    assert gap.abs().max() < 2e-3


def test_integer_and_tensor_levels_agree():
    schedule = Schedule("cosine", 50)
    every = schedule.alpha_bar(torch.arange(-1, 50))
    assert every.shape == (51, 1, 1, 1) and every.dtype == torch.float64
    assert every.flatten().tolist() == [schedule.alpha_bar(t).item() for t in range(-1, 50)]


@pytest.mark.parametrize("kind", OURS)
def test_the_clean_level_is_clean_as_a_real_number_too(kind):
    schedule = Schedule(kind, 100)
    assert float(schedule.alpha_bar(-1.0)) == 1
    assert float(schedule.alpha_bar(torch.tensor([-1.0]))) == 1
    for level in (-2, -1.5, torch.tensor([3, -2]), torch.tensor([3.0, -1.5])):
        with pytest.raises(UserError, match="there is no noise level"):
            schedule.alpha_bar(level)


def test_config_rebuilds_the_schedule():
    schedule = Schedule("linear", 37)
    assert torch.equal(
        Schedule(**schedule.config).alpha_bar(torch.arange(37)),
        schedule.alpha_bar(torch.arange(37)),
    )


@pytest.mark.parametrize("options", [{"kind": "quadratic"}, {"T": 0}, {"T": 2.5}])
def test_impossible_schedule_is_refused(options):
    with pytest.raises(UserError, match="^(kind|T) must be"):
        Schedule(**options)


def test_q_sample_has_mean_and_variance_of_q():
    schedule, t = Schedule("cosine", 100), torch.tensor([0, 40, 99])
    one, zero = (
        torch.ones(3, 1, 1, 1, dtype=torch.float64),
        torch.zeros(3, 1, 1, 1, dtype=torch.float64),
    )
    signal, noise = schedule.q_sample(one, t, zero), schedule.q_sample(zero, t, one)
    torch.testing.assert_close(signal**2, schedule.alpha_bar(t))
    torch.testing.assert_close(signal**2 + noise**2, one)
    torch.testing.assert_close(schedule.q_sample(3 * one, t, -2 * one), 3 * signal - 2 * noise)


@pytest.mark.parametrize("s, t", [(-1, 0), (0, 1), (10, 60), (98, 99)])
def test_q_to_s_then_renoising_to_t_is_q_to_t(s, t):
    schedule, one, zero = (
        Schedule("linear", 100),
        torch.ones(1, 1, 1, 1, dtype=torch.float64),
        torch.zeros(1, 1, 1, 1, dtype=torch.float64),
    )
    mean = schedule.renoise(schedule.q_sample(one, s, zero), s, t, zero)
    variance = (
        schedule.renoise(schedule.q_sample(zero, s, one), s, t, zero) ** 2
        + schedule.renoise(zero, s, t, one) ** 2
    )
    a = schedule.alpha_bar(t)
    torch.testing.assert_close(mean.squeeze(), a.sqrt())
    torch.testing.assert_close(variance.squeeze(), 1 - a)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("s, t", [(0, 1), (3, 4), (5, 70), (98, 99)])
def test_posterior_is_bayes_rule_for_gaussians(kind, s, t):
    schedule = Schedule(kind, 100)
    x0, x_t = normal(2, 2, 1, 3, 3)
    a_s, a_t = schedule.alpha_bar(s), schedule.alpha_bar(t)
    k = (a_t / a_s).sqrt()  # x_t = k x_s + noise of variance 1 − k²
    precision = 1 / (1 - a_s) + k**2 / (1 - k**2)
    expected = (a_s.sqrt() * x0 / (1 - a_s) + k * x_t / (1 - k**2)) / precision
    mean, variance = schedule.posterior(x0, x_t, t, s)
    torch.testing.assert_close(mean, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(variance, 1 / precision, rtol=1e-9, atol=0)
    torch.testing.assert_close(schedule.beta(t, s), 1 - k**2, rtol=1e-9, atol=1e-12)


def test_posterior_of_the_clean_image_is_the_clean_image():
    schedule = Schedule("cosine", 100)
    x0, x_t = normal(2, 2, 1, 3, 3)
    mean, variance = schedule.posterior(x0, x_t, 30, -1)
    torch.testing.assert_close(mean, x0)
    assert variance == 0


def test_posterior_takes_a_level_for_each_image():
    schedule = Schedule("cosine", 100)
    x0, x_t = normal(2, 3, 1, 2, 2)
    t = torch.tensor([1, 50, 99])
    mean, variance = schedule.posterior(x0, x_t, t, t - 1)
    for i, level in enumerate(t.tolist()):
        one_mean, one_variance = schedule.posterior(x0[i : i + 1], x_t[i : i + 1], level, level - 1)
        torch.testing.assert_close(mean[i : i + 1], one_mean)
        torch.testing.assert_close(variance[i].squeeze(), one_variance)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 10, 16, 50, 80, 81, 333, 999, 1000])
def test_grid_equals_diffusers(spacing, count):
    if spacing == "linspace" and count == 1:
        theirs = [
            999
            # Numpy's linspace of one point is its start, t = 0, from which pure noise cannot be
            # denoised.
        ]
    else:
        scheduler = DDIMScheduler(1000, timestep_spacing=spacing)
        scheduler.set_timesteps(count)
        theirs = scheduler.timesteps.tolist()
    grid = Schedule("linear", 1000).steps(count, spacing)
    assert [t for t, _ in grid] == theirs
    assert [s for _, s in grid] == [*theirs[1:], -1]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 40, 999, 1000])
def test_the_grid_towards_noise_is_quadratic_as_far_as_levels_are_whole_and_distinct(count):
    grid = Schedule("cosine", 1000).steps(count, "towards_noise")
    levels = [t for t, _ in grid]
    assert [s for _, s in grid] == [*levels[1:], -1]
    assert levels[0] == 999 and levels[-1] == (0 if count > 1 else 999)
    assert all(later < level for level, later in itertools.pairwise(levels))
    if count <= 40:  # with more, the noisiest levels are taken one by one
        ideal = [999 * (1 - (i / max(1, count - 1)) ** 2) for i in range(count)]
        assert max(abs(a - b) for a, b in zip(levels, ideal, strict=True)) < 1


@pytest.mark.parametrize(
    "count, spacing", [(0, "linspace"), (101, "linspace"), (2.0, "linspace"), (10, "linespace")]
)
def test_impossible_grid_is_refused(count, spacing):
    with pytest.raises(UserError, match="^(steps|spacing) must be"):
        Schedule("linear", 100).steps(count, spacing)


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_matches_itself(kind):
    schedule, every = Schedule(kind, 1000), torch.arange(1000)
    assert torch.equal(schedule.match(schedule.alpha_bar(every).flatten()), every)


@pytest.mark.parametrize("here, there", [("cosine", "linear"), ("linear", "cosine")])
def test_match_finds_the_nearest_alpha_bar_of_another_schedule(here, there):
    encoder, denoiser = Schedule(here, 1000), Schedule(there, 1000)
    asked = denoiser.alpha_bar(torch.arange(1000)).flatten()
    levels = encoder.match(asked)
    found = encoder.alpha_bar(levels).flatten()
    assert (angle(found) - angle(asked)).abs().max() < 0.01
    assert not torch.equal(levels, torch.arange(1000))
    for shift in (-1, 1):  # neither neighbour is nearer
        beside = encoder.alpha_bar((levels + shift).clamp(0, 999)).flatten()
        assert (
            (angle(found) - angle(asked)).abs() <= (angle(beside) - angle(asked)).abs() + 1e-12
        ).all()


def test_match_refuses_a_schedule_too_coarse_to_hold_the_level():
    with pytest.raises(
        UserError, match=r"this schedule \(cosine, T=5\) has no level with ᾱ = .*the other one has"
    ):
        Schedule("cosine", 5).match(
            Schedule("cosine", 1000).alpha_bar(torch.arange(1000)).flatten()
        )


def test_match_takes_the_nearest_level_where_any_angle_will_do():
    schedule = Schedule("cosine", 5)
    asked = torch.tensor([1.0, 0.0])  # pure signal, pure noise
    assert schedule.match(asked, ANY_ANGLE).tolist() == [0, 4]
