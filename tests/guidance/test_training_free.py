"""Every training-free method on the Gaussian case of method.md §5.

There its formula can be written out.
"""

import pytest
import torch
from gaussian import R2, VARIANCE, M, Perfect, V, Y, log_normal, moments

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Prediction
from sdg.diffusion.noise import Noise
from sdg.diffusion.samplers import DDIM, DDPM, DPMSolver, ddpm_step
from sdg.diffusion.sampling import sample
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.guidance.semantic import SemanticGuidance
from sdg.guidance.training_free import DPS, LGD, MPGD, TFG, FreeDoM, Universal
from sdg.pipeline.terms import checked

SCHEDULE, T, S = Schedule("linear", 1000), 400, 390
A = float(SCHEDULE.alpha_bar(T))
GAIN = A**0.5 * V / (A * V + 1 - A)  # ∂x̂_0/∂x_t


def at_clean(x, level):
    """log p(y | x_0) at a clean x, added up over pixels."""
    assert level == -1, "a training-free method looks at clean images only"
    return log_normal(Y, x.double(), R2).flatten(1).sum(1)


def x0_of(x):
    return M + GAIN * (x - A**0.5 * M)


def predict(x):
    return Prediction(x0_of(x), None)


def points(n=5):
    return torch.linspace(-2, 2, n, dtype=torch.float64).view(n, 1, 1, 1)


def steering(method, x, noise=None):
    guide = method.prepare(at_clean, SCHEDULE, DDIM(10))
    return guide.guide_prediction(predict, x, T, S, noise or (lambda: torch.zeros_like(x)))


def test_dps_is_the_chain_rule_through_the_denoiser():
    x = points()
    found = steering(DPS(gamma=3.0), x)
    torch.testing.assert_close(found.score, 3 * GAIN * (Y - x0_of(x)) / R2, rtol=1e-5, atol=1e-6)
    assert found.shift is None and not found.prediction.x0.requires_grad
    torch.testing.assert_close(found.prediction.x0, x0_of(x))


def test_sdg_at_x0_is_the_chain_rule_through_the_denoiser_and_the_noise_put_back():
    def at_level(x, level):
        assert level == T
        return log_normal(Y, x.double(), R2).flatten(1).sum(1)

    x, z = points(), torch.full((5, 1, 1, 1), 0.3, dtype=torch.float64)
    guide = SemanticGuidance(3.0, "x0").prepare(at_level, SCHEDULE, DDIM(10))
    found = guide.guide_prediction(predict, x, T, S, lambda: z)
    noised = A**0.5 * x0_of(x) + (1 - A) ** 0.5 * z
    torch.testing.assert_close(
        found.score, 3 * A**0.5 * GAIN * (Y - noised) / R2, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(found.prediction.x0, x0_of(x))
    assert guide.mean_gradient(x, x, T, S) is None


def test_mpgd_moves_x0_by_bayes_rule_and_never_differentiates_the_denoiser():
    def no_gradient(x):
        assert not x.requires_grad and not torch.is_grad_enabled()
        return predict(x)

    x = points()
    with torch.no_grad():
        found = (
            MPGD(gamma=0.5)
            .prepare(at_clean, SCHEDULE, DDIM(10))
            .guide_prediction(no_gradient, x, T, S, None)
        )
    torch.testing.assert_close(
        found.shift, 0.5 * (1 - A) * (Y - x0_of(x)) / R2, rtol=1e-5, atol=1e-6
    )
    assert found.score is None


def test_freedom_takes_the_direction_of_dps_and_the_size_of_the_noise():
    x = torch.linspace(-2, 2, 12, dtype=torch.float64).view(3, 1, 2, 2)
    g = GAIN * (Y - x0_of(x)) / R2
    eps = (x - A**0.5 * x0_of(x)) / (1 - A) ** 0.5
    size = lambda h: h.square().flatten(1).mean(1).sqrt().view(-1, 1, 1, 1)  # noqa: E731
    torch.testing.assert_close(
        steering(FreeDoM(gamma=0.2), x).score,
        0.2 * size(eps) / (1 - A) ** 0.5 * g / size(g),
        rtol=1e-5,
        atol=1e-6,
    )
    # In terms of ε̂: its root mean square moves by the share γ of itself.
    moved = (1 - A) ** 0.5 * steering(FreeDoM(gamma=0.2), x).score
    torch.testing.assert_close(size(moved), 0.2 * size(eps), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("iterations", [1, 4])
def test_ascent_at_x0_approaches_the_target_geometrically(iterations):
    # On a quadratic each step of size γμ(1−ᾱ) leaves the fraction 1 − γμ(1−ᾱ)/r² of the way to y.
    x, gamma, mu = points(), 0.3, 0.7
    rate = gamma * mu * (1 - A) / R2
    expected = (Y - x0_of(x)) * (1 - (1 - rate) ** iterations)
    torch.testing.assert_close(
        steering(TFG(gamma, rho=0, mu=mu, iterations=iterations, smoothing=0), x).shift,
        expected,
        rtol=1e-5,
        atol=1e-6,
    )


def test_universal_moves_the_noise_with_x0():
    x = points()
    forward = steering(DPS(0.3), x).score
    shift = steering(TFG(0.3, rho=0, mu=0.7, iterations=3, smoothing=0), x).shift
    found = steering(Universal(0.3, mu=0.7, iterations=3), x)
    assert found.shift is None
    # ε̂ ← ε̂ − √(ᾱ/(1−ᾱ)) Δ, and ε̂ moves by −√(1−ᾱ) · score.
    torch.testing.assert_close(
        (1 - A) ** 0.5 * (found.score - forward), (A / (1 - A)) ** 0.5 * shift, rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_lgd_tends_to_the_exact_similarity_with_many_draws():
    # log E_δ N(y; x̂_0 + r δ, r²_y) = log N(y; x̂_0, r²_y + r²): with r² = Var[x_0 | x_t] that is
    # log p(y | x_t).
    x, draws = points(3), 40_000
    generator = torch.Generator().manual_seed(0)
    method = LGD(gamma=1.0, draws=draws, smoothing=(V / (A * V + 1 - A)) ** 0.5)
    found = steering(
        method, x, lambda: torch.randn(3, 1, 1, 1, dtype=torch.float64, generator=generator)
    ).score
    exact = GAIN * (Y - x0_of(x)) / (R2 + V * (1 - A) / (A * V + 1 - A))
    torch.testing.assert_close(found, exact, rtol=0, atol=0.003)


# --- sampling -----------------------------------------------------------------------------------


def test_dps_takes_the_prediction_for_the_image_and_so_is_too_sure():
    # x̂_0 = p + g x_t moves by k (y − x̂_0), k = (1−ᾱ_t)/√ᾱ_t g/r², and the posterior's mean is c_0
    # x̂_0 + c_x x_t: an affine recursion.
    mean, variance = 0.0, 1.0
    for t, s in SCHEDULE.steps(SCHEDULE.T):
        a, a_s, beta, small = (
            float(v)
            for v in (
                SCHEDULE.alpha_bar(t),
                SCHEDULE.alpha_bar(s),
                SCHEDULE.beta(t, s),
                SCHEDULE.posterior_variance(t, s),
            )
        )
        g = a**0.5 * V / (a * V + 1 - a)
        k = (1 - a) / a**0.5 * g / R2 if s >= 0 else 0.0
        c0, cx = a_s**0.5 * beta / (1 - a), (a / a_s) ** 0.5 * (1 - a_s) / (1 - a)
        slope = c0 * (1 - k) * g + cx
        mean, variance = (
            slope * mean + c0 * ((1 - k) * M * (1 - g * a**0.5) + k * Y),
            slope**2 * variance + (small if s >= 0 else 0.0),
        )
    found = moments(SCHEDULE, ddpm_step, DPS(1.0).prepare(at_clean, SCHEDULE, DDPM(1)))
    assert found == pytest.approx((mean, variance), rel=1e-4)
    # A point estimate of x_0 leaves Var[x_0 | x_t] out of p(y | x_t), so the result is narrower
    # than the posterior.
    assert found[1] < 0.95 * VARIANCE


def test_every_option_of_the_union_counts():
    x, zero = points(3), lambda: torch.zeros(3, 1, 1, 1, dtype=torch.float64)
    dps, mpgd = steering(DPS(0.3), x).score, steering(MPGD(0.3), x).shift
    one = {"rho": 0.5, "mu": 0.25, "iterations": 1, "smoothing": 0}
    both = steering(TFG(0.3, **one), x)
    torch.testing.assert_close(both.score, 0.5 * dps)
    torch.testing.assert_close(both.shift, 0.25 * mpgd)
    shaped = steering(TFG(0.3, **one, normalize=True), x)
    torch.testing.assert_close(shaped.score, 0.15 * dps.sign())
    torch.testing.assert_close(shaped.shift, 0.3 * 0.25 * (1 - A) * mpgd.sign())
    cut = steering(TFG(0.3, **one, max_norm=1e-3), x)
    torch.testing.assert_close(cut.score, 0.15e-3 * dps.sign())
    torch.testing.assert_close(cut.shift, 0.3 * 0.25 * (1 - A) * 1e-3 * mpgd.sign())
    # δ = 1 in a single draw: F(x̂_0) = sim(x̂_0 + σ √(1−ᾱ)), for both parts.
    far = steering(TFG(0.3, rho=1, mu=1, iterations=1, smoothing=0.8), x, lambda: zero() + 1)
    expected = (Y - x0_of(x) - 0.8 * (1 - A) ** 0.5) / R2
    torch.testing.assert_close(far.score, 0.3 * GAIN * expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(far.shift, 0.3 * (1 - A) * expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", [DPS, LGD, FreeDoM, Universal, MPGD, TFG])
@pytest.mark.parametrize("sampler", [DDPM(6), DDIM(6), DPMSolver(6)])
def test_gamma_zero_is_unguided_bit_for_bit_and_no_sample_depends_on_its_batch(method, sampler):
    denoiser, seeds = Denoiser(Perfect(SCHEDULE), SCHEDULE, prediction="x0"), [3, 4, 5]

    def similarity(x, level):
        return x.flatten(1).tanh().sum(1)

    def images(gamma, size):
        guide = method(gamma).prepare(similarity, SCHEDULE, sampler)
        return torch.cat(
            [
                sample(denoiser, sampler, Noise(seeds[i : i + size], (3, 4, 4)), guide)
                for i in range(0, 3, size)
            ]
        )

    unguided = sample(denoiser, sampler, Noise(seeds, (3, 4, 4)))
    assert method(0).prepare(similarity, SCHEDULE, sampler) is None and torch.equal(
        images(0, 3), unguided
    )
    guided = images(0.5, 3)
    assert not torch.equal(guided, unguided)
    torch.testing.assert_close(images(0.5, 1), guided, rtol=0, atol=1e-4)


@pytest.mark.parametrize("option", ["last_step", "clip_first"])
@pytest.mark.parametrize("method", [DPS, LGD, FreeDoM, Universal, MPGD, TFG])
@pytest.mark.parametrize("sampler", [DDPM(6), DDIM(6), DPMSolver(6)])
def test_what_is_clipped_and_whether_the_last_step_is_guided_counts(method, sampler, option):
    denoiser = Denoiser(Perfect(SCHEDULE), SCHEDULE, prediction="x0")

    def similarity(x, level):
        return x.flatten(1).sum(1)

    def images(**options):
        guide = method(9.0, **options).prepare(similarity, SCHEDULE, sampler)
        return sample(denoiser, sampler, Noise([3, 4], (3, 4, 4)), guide)

    assert not torch.equal(images(**{option: True}), images())


def test_draws_of_a_method_are_not_those_of_the_sampler():
    denoiser, sampler = Denoiser(Perfect(SCHEDULE), SCHEDULE, prediction="x0"), DDPM(6)
    guide = LGD(1.0).prepare(
        lambda x, level: 0 * x.flatten(1).sum(1), SCHEDULE, sampler
    )  # it draws, and moves nothing
    assert torch.equal(
        sample(denoiser, sampler, Noise([3, 4], (3, 4, 4)), guide),
        sample(denoiser, sampler, Noise([3, 4], (3, 4, 4))),
    )


def test_outside_of_the_interval_no_method_looks_at_x0():
    asked, sampler = [], DDIM(10)
    denoiser = Denoiser(Perfect(SCHEDULE), SCHEDULE, prediction="x0")

    def similarity(x, level):
        asked.append(level)
        return at_clean(x, level)

    guidance = DPS(1e-3, interval=[0.5, 1.0], recurrence=3, recurrence_interval=[0.7, 0.8])
    guide = guidance.prepare(similarity, SCHEDULE, sampler)
    assert [guide.guided_repeats(t) for t in (400, 600, 750)] == [0, 1, 3]
    sample(denoiser, sampler, Noise([3], (3, 4, 4)), guide)
    assert asked == [-1] * sum(guide.guided_repeats(t) for t, s in sampler.grid(SCHEDULE) if s >= 0)


@pytest.mark.parametrize("method", [DPS(3.0), MPGD(3.0)])
def test_sim_is_read_in_fp32_whatever_surrounds_it(method):
    @checked  # as a pipeline asks a function of one's own
    def similarity(x, level):
        product = x.flatten(1) @ torch.eye(1)
        assert product.dtype == torch.float32  # autocast would have made it bfloat16
        return -product.square().sum(1)

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = method.prepare(similarity, SCHEDULE, DDIM(10)).guide_prediction(
            lambda x: Prediction((2 * x).bfloat16(), None), points().float(), T, S, None
        )
    assert (found.score if found.shift is None else found.shift).any()


def test_freedom_has_no_other_size_than_its_own():
    with pytest.raises(TypeError, match="normalize"):
        FreeDoM(normalize=True)


@pytest.mark.parametrize(
    "options, knob",
    [
        ({"draws": 0}, "draws"),
        ({"smoothing": -1}, "smoothing"),
        ({"iterations": 0}, "iterations"),
        ({"rho": "x"}, "rho"),
    ],
)
def test_impossible_settings_are_refused_by_name(options, knob):
    with pytest.raises(UserError, match=rf"^{knob}"):
        TFG(**options)


@pytest.mark.parametrize(
    "method, knob",
    [(DPS, "rho"), (DPS, "mu"), (LGD, "mu"), (MPGD, "rho"), (Universal, "rho"), (FreeDoM, "draws")],
)
def test_a_method_has_no_other_methods_knobs(method, knob):
    with pytest.raises(TypeError, match=knob):
        method(1.0, **{knob: 1})
