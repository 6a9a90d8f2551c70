"""How much of a denoiser's error a guidance gradient explains: a measure of gradients that needs no samples and no exact posterior."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

__all__ = ["Explained", "explained", "information"]


class Explained(NamedTuple):
    """How well γ g, g = σ_t ∇ sim(x_t, y), predicts ε̂ − ε.

    Attributes:
        gamma: γ*, the scale with which it does so best; 1 for the exact gradient.
        error: E‖ε̂ − ε‖² − E‖ε̂ − γ* g − ε‖², the part that it explains, in units of the noise's variance, summed over pixels.
    """

    gamma: float
    error: float


def explained(gradient: Tensor, error: Tensor) -> Explained:
    """For images x_0, what they show y, and their noised selves x_t = √ᾱ_t x_0 + σ_t ε.

    Since E[ε | x_t, y] = E[ε | x_t] − σ_t ∇ log p(y | x_t), the exact gradient g predicts the error ε̂ − ε of an exact denoiser
    without bias, and of all functions of x_t and y explains most of it (Chao et al. 2022, arXiv 2203.14206):

        E‖ε̂ − ε‖² − E‖ε̂ − γ g − ε‖² = 2 γ E⟨g, ε̂ − ε⟩ − γ² E‖g‖²,   largest at γ* = E⟨g, ε̂ − ε⟩ / E‖g‖²

    Arguments:
        gradient: g, (N, C, H, W).
        error: ε̂ − ε, of the same shape.
    """
    product = float((gradient * error).flatten(1).sum(1).double().mean())
    square = float(gradient.square().flatten(1).sum(1).double().mean())
    if square == 0:
        return Explained(0.0, 0.0)
    return Explained(product / square, product**2 / square)


def information(log_snr: Sequence[float], errors: Sequence[float]) -> float:
    """½ ∫ error dλ over λ = log(ᾱ/(1−ᾱ)), in nats, by the trapezoid rule.

    For the exact gradient this is the mutual information of x_0 and y (Guo, Shamai & Verdú 2005, arXiv cs/0412108), so for any
    other it is the part of what y says that guidance can make use of.

    Arguments:
        log_snr: λ of each level, rising or falling.
        errors: what is explained at each level.
    """
    points = sorted(zip(log_snr, errors))
    return sum((b - a) * (low + high) / 4 for (a, low), (b, high) in zip(points, points[1:]))
