"""Classifier-free guidance and autoguidance: one combination of predictions, in every process."""

import pytest
import torch
from gaussian import M, PerfectOutput, V
from torch import nn

from sdg.diffusion.denoiser import PREDICTIONS, Denoiser
from sdg.diffusion.guided_denoiser import GuidedDenoiser, Negative
from sdg.diffusion.samplers import DDPM, Heun
from sdg.diffusion.sampling import sample
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.guidance import DPS

CLASSES = ((M, V), (-0.6, 0.1), (0.9, 0.5))  # mean and variance of p(x_0 | c)
X = torch.randn(4, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Counted(PerfectOutput):
    """The exact network of a Gaussian, in any prediction, which counts its calls."""

    calls = 0

    def forward(self, seen, t):
        self.calls += 1
        return super().forward(seen, t)


def exact(kind="linear", prediction="x0", c=0, **options):
    schedule = Schedule(kind, 100)
    network = Counted(schedule, prediction, *CLASSES[c])
    return Denoiser(network, schedule, prediction=prediction, clip=False, **options)


def guided(*scales, interval=(0.0, 1.0), **options):
    """The first Gaussian, moved away from the next ones."""
    negatives = [
        Negative(exact(c=c, **options), scale, interval) for c, scale in enumerate(scales, 1)
    ]
    return GuidedDenoiser(exact(**options), negatives)


def score(schedule, x, t, c):
    """∇ log p_t(x | c), by autograd."""
    a, (mean, variance) = schedule.alpha_bar(t), CLASSES[c]
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        log_p = torch.distributions.Normal(a.sqrt() * mean, (a * variance + 1 - a).sqrt())
        return torch.autograd.grad(log_p.log_prob(x).sum(), x)[0]


# A flow ends in noise alone, where ε tells no image.
PAIRS = [
    (kind, prediction)
    for kind in ("linear", "cosine", "flow", "edm")
    for prediction in PREDICTIONS
    if (kind, prediction) != ("flow", "epsilon")
]


def test_latents_stay_latents_where_they_are_guided():
    plain = exact(latents=True)
    assert GuidedDenoiser(plain, [Negative(exact(c=1, latents=True), 2.0)]).latents


@pytest.mark.parametrize("kind, prediction", PAIRS)
def test_the_score_is_that_of_the_product_of_powers_in_every_process(kind, prediction):
    denoiser = guided(3.0, kind=kind, prediction=prediction)
    schedule = denoiser.schedule
    for t in (0, 17, 98, 40.5):
        noise = schedule.noise(denoiser(X, t).x0, X, t)
        found = -noise / (1 - schedule.alpha_bar(t)).sqrt()
        expected = 3 * score(schedule, X, t, 0) - 2 * score(schedule, X, t, 1)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_networks_of_different_predictions_combine_as_of_one():
    mixed = GuidedDenoiser(exact(prediction="v"), [Negative(exact(c=1, prediction="edm"), 3.0)])
    torch.testing.assert_close(mixed(X, 50).x0, guided(3.0)(X, 50).x0)


def test_two_negatives_add_up():
    found, schedule = guided(3.0, 1.5), Schedule("linear", 100)
    a = schedule.alpha_bar(30)
    eps = schedule.noise(found(X, 30).x0, X, 30) / -(1 - a).sqrt()
    scores = [score(schedule, X, 30, c) for c in range(3)]
    torch.testing.assert_close(eps, 3.5 * scores[0] - 2 * scores[1] - 0.5 * scores[2])


# levels 0 … 99, so that u = t/99
@pytest.mark.parametrize(
    "t, calls", [(0, 0), (19, 0), (20, 1), (50, 1), (80, 1), (81, 0), (19.9, 0), (80.0, 1)]
)
def test_both_ends_of_the_interval_are_in_and_nothing_is_called_outside(t, calls):
    denoiser = guided(3.0, interval=(20 / 99, 80 / 99))
    plain = exact()(X, t)
    found = denoiser(X, t)
    assert denoiser.guided.network.calls == 1
    assert denoiser.negatives[0].network.calls == calls
    assert torch.equal(found.x0, plain.x0) == (not calls)
    expected = guided(3.0)(X, t).x0 if calls else plain.x0
    assert torch.equal(found.x0, expected)


def test_each_image_may_have_a_level_of_its_own():
    denoiser, t = guided(3.0, interval=(0.2, 0.8)), torch.tensor([5, 30, 70, 95])
    found = denoiser(X, t)
    for i, level in enumerate(t.tolist()):
        alone = denoiser(X[i : i + 1], level).x0
        torch.testing.assert_close(found.x0[i : i + 1], alone)
    calls = denoiser.negatives[0].network.calls
    assert torch.equal(denoiser(X, torch.tensor([5, 5, 95, 95])).x0[0], exact()(X, 5).x0[0])
    assert denoiser.negatives[0].network.calls == calls


def test_scale_1_is_the_plain_denoiser_bit_for_bit_and_calls_nothing_else():
    denoiser = guided(1.0)
    assert torch.equal(denoiser(X, 50).x0, exact()(X, 50).x0)
    assert denoiser.negatives[0].network.calls == 0


class WithVariance(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, t):
        return torch.cat([x * self.value, torch.full_like(x, self.value)], 1)


def test_a_learned_variance_is_the_guided_ones_own():
    schedule = Schedule("linear", 100)
    pair = [
        Denoiser(WithVariance(value), schedule, variance="learned_range") for value in (0.3, -0.9)
    ]
    denoiser = GuidedDenoiser(pair[0], [Negative(pair[1], 2.0)])
    prediction = denoiser(X, 50)
    assert torch.equal(prediction.variance_weight, torch.full_like(X, 0.3))
    found = denoiser.reverse(prediction, X, 50, 40)
    torch.testing.assert_close(found.variance, pair[0].reverse(pair[0](X, 50), X, 50, 40).variance)


@pytest.mark.parametrize("sampler, calls", [(DDPM(5), 5), (Heun(5), 9)])
def test_each_call_of_a_sampler_is_combined(sampler, calls):
    denoiser = guided(2.0)
    sample(denoiser, sampler, lambda *_: X)
    assert denoiser.guided.network.calls == denoiser.negatives[0].network.calls == calls


def test_the_gradient_of_a_training_free_method_goes_through_the_combination():
    denoiser, t = guided(3.0), 40

    def similarity(x, level):
        return (x * 0.7).sum((1, 2, 3))

    method = DPS(1.0).prepare(similarity, denoiser.schedule, DDPM(1))
    found = method.guide_prediction(lambda x: denoiser(x, t), X.clone(), t, 39, lambda: X)
    # Exact posterior means are affine in x_t, with slopes √ᾱ v/(ᾱ v + 1 − ᾱ).
    a = denoiser.schedule.alpha_bar(t)
    slopes = [a.sqrt() * v / (a * v + 1 - a) for _, v in CLASSES]
    expected = 0.7 * (3 * slopes[0] - 2 * slopes[1])
    torch.testing.assert_close(found.score, torch.full_like(X, expected.item()))


def test_weights_move_with_the_guided_denoiser():
    pair = [
        Denoiser(nn.Conv2d(3, 3, 1), Schedule("linear", 100), prediction="x0") for _ in range(2)
    ]
    denoiser = GuidedDenoiser(pair[0], [Negative(pair[1], 2.0)]).double().eval()
    assert {weight.dtype for weight in pair[1].parameters()} == {torch.float64}
    assert [each.training for each in denoiser.passes] == [False, False]
    assert denoiser.passes == pair


@pytest.mark.parametrize(
    "options, said",
    [
        ({"resolution": 32}, "differ in resolution: 16 of the guided one, 32 of the other"),
        ({"resolution": 16, "channels": 4}, "differ in channels: 3 of the guided one, 4"),
        ({"resolution": 16, "latents": True}, "differ in latents: False of the guided one, True"),
        ({"kind": "edm"}, "different processes, linear with T=100 and edm with T=100"),
    ],
)
def test_a_negative_of_other_images_or_another_process_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        GuidedDenoiser(exact(resolution=16), [Negative(exact(**options), 2.0)])


@pytest.mark.parametrize(
    "scale, interval, said",
    [(-1, (0, 1), "scale must be"), (2, (0.5, 0.5), "is empty"), (2, 3, "must be two fractions")],
)
def test_a_wrong_scale_or_interval_is_refused(scale, interval, said):
    with pytest.raises(UserError, match=said):
        GuidedDenoiser(exact(), [Negative(exact(c=1), scale, interval)])
