"""What a gradient explains, against the Gaussian case.

There the exact gradient and the information are known.
"""

import math

import pytest
import torch

from sdg.evaluation.gradients import LOG_SNR
from sdg.metrics.explained import Explained, explained, information

SPREAD = 0.5  # of what is seen of x_0: y = x_0 + 0.5 n


def gaussian(log_snr: float, count: int = 4000):
    """x_0 ~ N(0, I), y ~ N(x_0, τ² I): the exact σ∇ log p(y | x_t), and ε̂ − ε."""
    generator = torch.Generator().manual_seed(0)
    x0, eps, seen = torch.randn(3, count, 1, 4, 4, generator=generator, dtype=torch.float64)
    a = 1 / (1 + math.exp(-log_snr))
    y = x0 + SPREAD * seen
    x = math.sqrt(a) * x0 + math.sqrt(1 - a) * eps
    # x_0 | x_t ~ N(√ᾱ x_t, (1−ᾱ) I), so y | x_t ~ N(√ᾱ x_t, (1−ᾱ+τ²) I).
    gradient = math.sqrt(1 - a) * math.sqrt(a) * (y - math.sqrt(a) * x) / (1 - a + SPREAD**2)
    predicted = math.sqrt(1 - a) * x
    return gradient, predicted - eps


@pytest.mark.parametrize("log_snr", [-3.0, 0.0, 2.0])
def test_the_exact_gradient_explains_what_bayes_rule_says(log_snr):
    gamma, error = explained(*gaussian(log_snr))
    a = 1 / (1 + math.exp(-log_snr))
    assert gamma == pytest.approx(1, abs=0.05)
    assert error == pytest.approx(16 * a * (1 - a) / (1 - a + SPREAD**2), rel=0.06)


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_a_gradient_of_another_length_explains_as_much(scale):
    gradient, error = gaussian(0.0)
    gamma, share = explained(gradient, error)
    assert explained(scale * gradient, error) == pytest.approx((gamma / scale, share))


def test_noise_on_the_gradient_costs_what_it_should():
    gradient, error = gaussian(0.0)
    noise = torch.randn(
        gradient.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    noisy = explained(gradient + gradient.std() * noise, error)
    assert noisy.gamma == pytest.approx(0.5, abs=0.05)  # half of its square is the gradient's
    assert noisy.error == pytest.approx(explained(gradient, error).error / 2, rel=0.1)


def test_a_gradient_of_noise_explains_nothing():
    _, error = gaussian(0.0)
    noise = torch.randn(
        error.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    assert abs(explained(noise, error).error) < 0.01


def test_eleven_levels_are_enough():
    levels = [float(level) for level in LOG_SNR]
    shares = []
    for level in levels:
        a = 1 / (1 + math.exp(-level))
        shares.append(16 * a * (1 - a) / (1 - a + SPREAD**2))
    whole = 8 * math.log(1 + SPREAD**-2)
    beyond = 8 * math.log(1 + math.exp(-max(levels)) / (1 + math.exp(-max(levels))) / SPREAD**2)
    assert information(levels, shares) == pytest.approx(whole - beyond, rel=0.03)


def test_no_gradient_explains_nothing():
    _, error = gaussian(0.0)
    assert explained(torch.zeros_like(error), error) == Explained(0.0, 0.0)


def test_the_integral_is_the_mutual_information():
    levels = torch.linspace(-6, 12, 300, dtype=torch.float64).tolist()
    shares = []
    for level in levels:
        a = 1 / (1 + math.exp(-level))
        shares.append(16 * a * (1 - a) / (1 - a + SPREAD**2))
    assert information(levels, shares) == pytest.approx(8 * math.log(1 + SPREAD**-2), rel=1e-3)
    assert information(levels[::-1], shares[::-1]) == pytest.approx(information(levels, shares))
