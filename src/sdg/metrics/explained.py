"""How much of a denoiser's error a guidance gradient explains.

This measure of gradients needs no samples and no exact posterior.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Explained", "explained", "information"]


class Explained(NamedTuple):
    """How well γ g, g = σ_t ∇ sim(x_t, y), predicts ε̂ − ε.

    Attributes:
        gamma: γ*, the scale with which it does so best; 1 for the exact gradient.
        error: the part of E‖ε̂ − ε‖² that γ* g explains, in units of the noise's variance, summed
            over pixels; below 0 where γ* does not carry over to other images.
    """

    gamma: float
    error: float


def explained(gradient: Tensor, error: Tensor) -> Explained:
    """For images x_0, what they show y, and their noised selves x_t = √ᾱ_t x_0 + σ_t ε.

    Since E[ε | x_t, y] = E[ε | x_t] − σ_t ∇ log p(y | x_t), the exact gradient g predicts the error
    ε̂ − ε of an exact denoiser without bias, and of all functions of x_t and y explains most of it
    (Chao et al. 2022, arXiv 2203.14206):

        E‖ε̂ − ε‖² − E‖ε̂ − γ g − ε‖² = 2 γ E⟨g, ε̂ − ε⟩ − γ² E‖g‖²,   largest at
        γ* = E⟨g, ε̂ − ε⟩ / E‖g‖²

    Two halves of the images are used in turn: γ* of one, what it explains of the other.

    Arguments:
        gradient: g, (N, C, H, W), N at least 2.
        error: ε̂ − ε, of the same shape.
    """
    products = (gradient * error).flatten(1).sum(1).double()
    squares = gradient.square().flatten(1).sum(1).double()
    if not squares.any():
        return Explained(0.0, 0.0)
    first = torch.arange(len(gradient), device=gradient.device) % 2 == 0
    gains = []
    for fitted, other in ((first, ~first), (~first, first)):
        gamma = products[fitted].mean() / squares[fitted].mean()
        gains.append(2 * gamma * products[other].mean() - gamma**2 * squares[other].mean())
    return Explained(float(products.mean() / squares.mean()), float(sum(gains) / 2))


def information(log_snr: Sequence[float], errors: Sequence[float]) -> float:
    """½ ∫ error dλ over λ = log(ᾱ/(1−ᾱ)), in nats.

    It is the trapezoid rule from the first level to the last.

    For the exact gradient, over all λ, this is the mutual information of x_0 and y (Guo, Shamai &
    Verdú 2005, arXiv cs/0412108); another gradient explains less. Below the noisiest level the
    error is taken to fall as the signal's power does, as e^λ, which adds half of it there; less
    noise than at the last level adds nothing.

    Arguments:
        log_snr: λ of each level, rising or falling.
        errors: what is explained at each level.
    """
    points = sorted(zip(log_snr, errors, strict=True))
    pairs = zip(points, points[1:], strict=False)
    area = sum((b - a) * (low + high) / 4 for (a, low), (b, high) in pairs)
    return area + points[0][1] / 2 if points and math.isfinite(points[0][0]) else area
