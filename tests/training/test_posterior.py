"""Beliefs over sentences.

Where distillation and score matching have their minima, in closed form.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from sdg.diffusion.schedule import Schedule
from sdg.training.posterior import (
    calibration_error,
    log_posterior,
    moved_uphill,
    score_error,
    soft_cross_entropy,
)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_log_posterior_is_the_softmax_of_dot_products():
    z, text = 5 * normal(3, 4), F.normalize(normal(6, 4, seed=1), dim=1)
    for i in range(3):
        weights = [math.exp(z[i] @ text[k]) for k in range(6)]
        expected = torch.tensor([w / sum(weights) for w in weights], dtype=torch.float64)
        torch.testing.assert_close(log_posterior(z, text)[i].exp(), expected)


def test_the_distillation_loss_is_least_at_the_expected_belief_given_the_noisy_image():
    """Of five images, E[p_c(k | x_0) | x_t] = Σ_i p(i | x_t) p_c(k | x_i).

    p(i | x_t) is by Bayes' rule.
    """
    schedule, t = Schedule("cosine", 1000), 500
    images, text = normal(5, 12), F.normalize(normal(4, 6, seed=1), dim=1)
    beliefs = log_posterior(3 * normal(5, 6, seed=2), text)
    a = schedule.alpha_bar(t)
    x_t = a.sqrt() * images[0] + (1 - a).sqrt() * normal(12, seed=3)
    likelihood = -(x_t - a.sqrt() * images).square().sum(1) / (2 * (1 - a))
    given = likelihood.softmax(0)
    expected = given @ beliefs.exp()

    z = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [z], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        value = (given * soft_cross_entropy(beliefs, log_posterior(z, text))).sum()
        value.backward()
        return value

    optimizer.step(loss)
    torch.testing.assert_close(log_posterior(z, text)[0].exp(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(loss().detach(), -(expected * expected.log()).sum())  # its entropy


def test_score_error_is_the_squared_distance_and_its_gradient_passes_through_the_gradient():
    # For log q = a·x + b(x·x)/2, ∇ log q = a + b x.
    x, predicted, noise, a = (normal(2, 3, 4, 4, seed=k) for k in range(4))
    x.requires_grad_()
    b = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([0.2, 0.9], dtype=torch.float64).view(2, 1, 1, 1)
    log_q = (a * x + b * x.square() / 2).flatten(1).sum(1)
    left = predicted - sigma * (a + b.detach() * x.detach()) - noise
    found = score_error(log_q, x, predicted, noise, sigma)
    torch.testing.assert_close(found.detach(), left.square().flatten(1).sum(1))
    (slope,) = torch.autograd.grad(found.sum(), b)
    torch.testing.assert_close(slope, (-2 * left * sigma * x.detach()).sum())


@pytest.mark.parametrize("t", [100, 500, 900])
def test_the_true_posterior_leaves_no_score_error_on_average(t):
    """x_0 | k ~ N(m_k, v), two k as likely.

    E[ε | x_t, k] = √(1−ᾱ)(x_t − √ᾱ m_k)/V with V = ᾱv + 1−ᾱ, and E[ε | x_t] is its mean under p(k |
    x_t).
    """
    a, v = Schedule("cosine", 1000).alpha_bar(t), 0.25
    means = torch.stack([normal(3, 2, 2, seed=1), normal(3, 2, 2, seed=2)])
    variance = a * v + 1 - a
    x_t, k = normal(5, 3, 2, 2, seed=3).requires_grad_(), torch.tensor([0, 1, 1, 0, 1])
    apart = x_t[:, None] - a.sqrt() * means
    log_p = (-apart.square().flatten(2).sum(2) / (2 * variance)).log_softmax(1)
    of_each = ((1 - a).sqrt() * apart / variance).detach()
    predicted = (log_p.detach().exp()[..., None, None, None] * of_each).sum(1)
    own = of_each[torch.arange(5), k]
    log_own = log_p.gather(1, k[:, None])[:, 0]
    error = score_error(log_own, x_t, predicted, own, (1 - a).sqrt()).detach()
    torch.testing.assert_close(error, torch.zeros_like(error), rtol=0, atol=1e-20)
    assert (
        (predicted - own).square().flatten(1).sum(1) > 1e-6
    ).any()  # what the gradient takes away


def test_calibration_error_weighs_the_gap_of_each_bin():
    confidence = torch.tensor([0.05, 0.62, 0.68, 1.0])
    accuracy = torch.tensor([0.0, 1.0, 0.0, 1.0])
    # Bins: {0.05}, {0.62, 0.68}, {1.0}: gaps 0.05, 0.15, 0.
    torch.testing.assert_close(
        calibration_error(confidence, accuracy), torch.tensor((0.05 + 2 * 0.15) / 4)
    )
    assert calibration_error(accuracy, accuracy) == 0


def test_an_image_moves_uphill_by_its_distance_and_no_other_does():
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    distance = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64).view(3, 1, 1, 1)
    moved = moved_uphill((slope * x).flatten(1).sum(1), x, distance)
    length = slope.flatten(1).norm(dim=1).view(3, 1, 1, 1)
    torch.testing.assert_close(moved, x.detach() + distance * slope / length)
    assert not moved.requires_grad
