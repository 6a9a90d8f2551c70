"""γ∇sim and what shapes it.

Where it is evaluated, which level the encoder is told, how it is shaped, what is refused.
"""

import math

import pytest
import torch
from gaussian import Perfect

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Prediction
from sdg.diffusion.noise import Noise
from sdg.diffusion.samplers import DDIM, DDPM, DPMSolver
from sdg.diffusion.sampling import sample
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.guidance.guidance import gradient
from sdg.guidance.semantic import SemanticGuidance, own_level
from sdg.pipeline.terms import checked

SCHEDULE = Schedule("cosine", 100)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def recording(seen):
    """The similarity −|x|²/2, whose gradient is −x; notes where and at which level it is asked."""

    def similarity(x, level):
        seen.append((x.detach().clone(), level))
        return -x.square().flatten(1).sum(1) / 2

    return similarity


def predict(x):
    return Prediction(x, None)


def asked(guide, sampler, x_t, mean, t=50, s=40):
    """The score, and γ∇sim for a Σ, as a sampler would get them.

    One without a Σ does not ask for the second.
    """
    score = guide.guide_prediction(predict, x_t, t, s, None).score
    return score, guide.mean_gradient(mean, x_t, t, s) if sampler.has_variance else None


@pytest.mark.parametrize(
    "gradient_at, sampler, where, level",
    [
        ("mean", DDPM(), "mean", 40),
        ("x_t", DDPM(), "x_t", 50),
        (None, DDPM(), "mean", 40),
        ("x_t", DDIM(), "x_t", 50),
        (None, DDIM(), "x_t", 50),
        (None, DPMSolver(), "x_t", 50),
        ("mean", DDIM(eta=0.5), "mean", 40),
        ("x_t", DDIM(eta=0.5), "x_t", 50),
        (None, DDIM(eta=0.5), "x_t", 50),
    ],
)
def test_gradient_is_taken_at_the_point_and_told_its_level(gradient_at, sampler, where, level):
    seen, points = [], {"x_t": normal(3, 1, 2, 2), "mean": normal(3, 1, 2, 2, seed=1)}
    score, push = asked(
        SemanticGuidance(2.5, gradient_at).prepare(recording(seen), SCHEDULE, sampler),
        sampler,
        points["x_t"],
        points["mean"],
    )
    at_mean = isinstance(sampler, DDPM) or (sampler.has_variance and gradient_at == "mean")
    assert (score is None) == (push is not None) == at_mean
    torch.testing.assert_close(push if score is None else score, -2.5 * points[where])
    ((x, told),) = seen
    assert torch.equal(x, points[where]) and told == level


def test_the_means_own_level_is_the_one_at_which_it_is_a_draw():
    schedule, t, s = Schedule("cosine", 1000), 600, 500
    a_t, a_s = float(schedule.alpha_bar(t)), float(schedule.alpha_bar(s))
    # μ = E-coefficients of the posterior: √ᾱ_s x_0 plus noise of variance 1−ᾱ_s−β̃ when x̂_0 = x_0.
    noise = ((a_t / a_s) ** 0.5 * (1 - a_s) / (1 - a_t)) ** 2 * (1 - a_t)
    signal = a_s**0.5
    scale, level = own_level(schedule, t, s)
    assert (scale * signal) ** 2 + scale**2 * noise == pytest.approx(1)
    assert (
        float(schedule.alpha_bar(level)) == pytest.approx((scale * signal) ** 2, abs=1e-3)
        and level < s
    )
    # DDIM's mean has the rest of the noise: none of its own with η = 0.
    assert own_level(schedule, t, s, eta=0.0) == (1.0, s)
    kept = 1 - a_s - 0.25 * float(schedule.posterior_variance(t, s))
    scale, level = own_level(schedule, t, s, eta=0.5)
    assert (scale * signal) ** 2 + scale**2 * kept == pytest.approx(1)
    assert float(schedule.alpha_bar(level)) == pytest.approx((scale * signal) ** 2, abs=1e-3)
    # On a fine grid the two levels meet.
    assert own_level(Schedule("cosine", 4000), 2000, 1999)[1] in (1998, 1999, 2000)


def test_gradient_at_the_means_own_level_is_that_of_the_scaled_mean():
    seen, mean = [], normal(3, 1, 2, 2)
    guide = SemanticGuidance(2.0, "mean_own_level").prepare(recording(seen), SCHEDULE, DDPM())
    scale, level = own_level(SCHEDULE, 50, 40)
    torch.testing.assert_close(guide.mean_gradient(mean, None, 50, 40), -2.0 * scale**2 * mean)
    assert seen[0][1] == level


def test_gradient_of_a_sample_does_not_depend_on_its_batch():
    similarity = lambda x: x.sin().flatten(1).prod(1)  # noqa: E731
    x = normal(4, 1, 2, 2)
    torch.testing.assert_close(
        gradient(similarity, x), torch.cat([gradient(similarity, one[None]) for one in x])
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_gradient_is_of_float32_whatever_surrounds_it(dtype):
    weight = normal(4, 4)

    @checked  # as a pipeline asks a function of one's own
    def similarity(x, level=0):
        assert x.dtype == torch.float32
        product = x.flatten(1) @ weight
        assert product.dtype == torch.float32  # autocast would have made it bfloat16
        return product.square().sum(1)

    x = normal(2, 1, 2, 2).to(dtype)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = gradient(similarity, x, 0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.flatten(1), 2 * x.float().flatten(1) @ weight @ weight.T)


def test_gradient_does_not_reach_behind_what_it_is_given():
    def similarity(x):
        assert x.is_leaf  # else autograd would hold the graph of what made x
        return x.square().flatten(1).sum(1)

    x = normal(2, 1, 2, 2).requires_grad_()
    assert not gradient(similarity, 2 * x).requires_grad


# --- strength -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, share",
    [
        ("constant", lambda u: 1),
        ("towards_noise", lambda u: 2 * u),
        ("towards_image", lambda u: 2 - 2 * u),
    ],
)
def test_gamma_over_the_noise_range(kind, share):
    x = normal(1, 1, 2, 2)
    guidance = SemanticGuidance(3.0, "x_t", gamma_schedule=kind)
    guide = guidance.prepare(recording([]), SCHEDULE, DDPM())
    for t in (0, 33, 99):
        torch.testing.assert_close(
            asked(guide, DDPM(), x, x, t, t - 1)[1], -3.0 * share(t / 99) * x
        )
    assert sum(share(t / 99) for t in range(100)) == pytest.approx(
        100
    )  # the mean strength is the same


@pytest.mark.parametrize("gradient_at", ["mean", "x_t"])
def test_outside_of_the_interval_nothing_is_guided_and_no_encoder_called(gradient_at):
    seen, sampler = [], DDPM(34)
    denoiser = Denoiser(Perfect(SCHEDULE), SCHEDULE, prediction="x0")
    guidance = SemanticGuidance(0.1, gradient_at, interval=[0.25, 0.75], recurrence=3)
    guide = guidance.prepare(recording(seen), SCHEDULE, sampler)
    assert [guide.guided_repeats(t) for t in (10, 24, 25, 50, 74, 75, 99)] == [0, 0, 3, 3, 3, 0, 0]
    sample(denoiser, sampler, Noise([0], (1, 2, 2)), guide)
    inside = [(t, s) for t, s in sampler.grid(SCHEDULE) if 0.25 <= t / 99 <= 0.75]
    levels = [s if gradient_at == "mean" else t for t, s in inside]
    assert [level for _, level in seen] == [level for level in levels for _ in range(3)]


@pytest.mark.parametrize("sampler", [DDPM(20), DDIM(20), DPMSolver(20)])
def test_steps_outside_of_the_interval_are_those_of_the_unguided_sampler(sampler):
    denoiser = Denoiser(Perfect(SCHEDULE), SCHEDULE, prediction="x0")
    guidance = SemanticGuidance(1.0, interval=[0.0, 0.5], recurrence=2)
    guide = guidance.prepare(recording([]), SCHEDULE, sampler)

    def states(guide):
        visited = []
        noise = Noise([5], (3, 2, 2))
        sample(denoiser, sampler, noise, guide, on_step=lambda k, step: visited.append(step.x))
        return visited

    runs = states(None), states(guide)
    first = sum(t > 0.5 * 99 for t, _ in sampler.grid(SCHEDULE))
    assert all(map(torch.equal, runs[0][:first], runs[1][:first]))
    assert not torch.equal(runs[0][first], runs[1][first])


def test_normalised_gradients_have_root_mean_square_one():
    x = normal(3, 1, 4, 4) * torch.tensor([1e-3, 1.0, 50.0]).view(3, 1, 1, 1)
    found = (
        SemanticGuidance(2.0, normalize=True)
        .prepare(recording([]), SCHEDULE, DDPM())
        .mean_gradient(x, None, 50, 40)
    )
    torch.testing.assert_close(
        found, -2 * x / x.square().flatten(1).mean(1).sqrt().view(3, 1, 1, 1)
    )


def test_long_gradients_are_cut_and_short_ones_left():
    x = torch.tensor([[3.0, 4.0], [0.3, 0.4]]).view(2, 1, 1, 2)
    found = (
        SemanticGuidance(2.0, max_norm=1.0)
        .prepare(recording([]), SCHEDULE, DDPM())
        .mean_gradient(x, None, 50, 40)
    )
    torch.testing.assert_close(found.flatten(1), -2 * torch.tensor([[0.6, 0.8], [0.3, 0.4]]))


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [DDIM(10), DPMSolver(10)])
@pytest.mark.parametrize("gradient_at", ["mean", "mean_own_level"])
def test_gradient_at_the_mean_is_refused_where_the_sampler_has_no_variance(sampler, gradient_at):
    with pytest.raises(UserError, match=r"gradient_at=x_t.*sampler ddpm"):
        SemanticGuidance(1.0, gradient_at).prepare(None, SCHEDULE, sampler)
    SemanticGuidance(1.0, gradient_at).check(DDPM(10))
    for allowed in (
        SemanticGuidance(1.0),
        SemanticGuidance(1.0, "x_t"),
        SemanticGuidance(0.0, gradient_at),
    ):
        allowed.check(sampler)


@pytest.mark.parametrize(
    "options, knob",
    [
        ({"gamma": math.inf}, "gamma"),
        ({"gamma": "5"}, "gamma"),
        ({"gamma": True}, "gamma"),
        ({"gradient_at": "x_s"}, "gradient_at"),
        ({"recurrence": 0}, "recurrence"),
        ({"interval": [0.2, 1.2]}, "interval"),
        ({"interval": [0.8, 0.2]}, "interval"),
        ({"interval": 0.5}, "interval"),
        ({"interval": [0.1]}, "interval"),
        ({"gamma_schedule": "rising"}, "gamma_schedule"),
        ({"max_norm": -1}, "max_norm"),
        ({"normalize": "yes"}, "normalize"),
    ],
)
def test_impossible_guidance_is_refused_by_name(options, knob):
    with pytest.raises(UserError, match=rf"^{knob}"):
        SemanticGuidance(**options)
