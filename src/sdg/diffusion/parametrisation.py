"""What a network predicts, and the image that follows from it: one formula for every family.

In variance-preserving coordinates, a = √ᾱ, n = √(1−ᾱ), x = a x_0 + n ε, a network F gives

    x̂_0 = (p x + q F(x/d, t))/r

    | predicts              | p    | q      | r         | d     | F's target                  |
    |-----------------------|------|--------|-----------|-------|-----------------------------|
    | epsilon               | 1    | −n     | a         | 1     | ε                           |
    | x0                    | 0    | 1      | 1         | 1     | x_0                         |
    | v                     | a    | −n     | 1         | 1     | a ε − n x_0                 |
    | velocity              | 1    | −n     | a + n     | a + n | ε − x_0                     |
    | flow_x0               | 0    | 1      | 1         | a + n | x_0                         |
    | edm, w = n² + a² σ_d² | aσ_d²| nσ_d√w | w         | √w    | (n x_0 − a σ_d² ε)/(σ_d √w) |

`v` is that of Salimans & Ho 2022 (arXiv 2202.00512). `velocity` is the one of rectified flow, of
α = 1 − τ and σ = τ: its own x is x/(a + n), and τ = n/(a + n). `flow_x0` reads that x too and
gives the image (Li & He 2025, arXiv 2511.13720); a flow whose noise is s times as strong, σ = s τ,
has n/s in the place of n. `edm` is the preconditioned network of Karras et al. 2022
(arXiv 2206.00364), table 1, of α = 1 and σ = n/a; with σ_d = 1 it is −v.

What the network is told of the noise is

    | time      | told    | of                                                             |
    |-----------|---------|----------------------------------------------------------------|
    | level     | t       | discrete processes                                             |
    | signal    | 1 − τ   | flows whose time runs from noise at 0 to the image at 1        |
    | tau       | τ       | flows whose time runs from the image at 0 to noise at 1        |
    | log_sigma | log n/a | EDM                                                            |
    | angle     | φ       | v-diffusion: a = cos(π φ/2) and n = sin(π φ/2)                 |
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "PREDICTIONS",
    "TIMES",
    "Coefficients",
    "alpha_bar_of_time",
    "coefficients",
    "moved_output",
    "target",
    "time_of",
]

PREDICTIONS = ("epsilon", "x0", "v", "velocity", "flow_x0", "edm")
TIMES = ("level", "signal", "tau", "log_sigma", "angle")
SIGMA_DATA = 0.5  # σ_d of images in [-1, 1], their deviation: Karras et al. 2022, table 1

Factor = Tensor | float


class Coefficients(NamedTuple):
    """x̂_0 = (of_x · x + of_output · F(x/input_divisor, t))/divisor."""

    of_x: Factor
    of_output: Factor
    divisor: Factor
    input_divisor: Factor


def coefficients(
    prediction: str, a: Tensor, n: Tensor, sigma_data: float = SIGMA_DATA
) -> Coefficients:
    """The row of the table.

    Arguments:
        prediction: one of `PREDICTIONS`.
        a, n: √ᾱ and √(1−ᾱ), of a shape that multiplies images.
        sigma_data: σ_d, of `edm`.
    """
    if prediction == "epsilon":
        return Coefficients(1.0, -n, a, 1.0)
    if prediction == "x0":
        return Coefficients(0.0, 1.0, 1.0, 1.0)
    if prediction == "v":
        return Coefficients(a, -n, 1.0, 1.0)
    if prediction == "velocity":
        return Coefficients(1.0, -n, a + n, a + n)
    if prediction == "flow_x0":
        return Coefficients(0.0, 1.0, 1.0, a + n)
    w = n**2 + (a * sigma_data) ** 2
    return Coefficients(a * sigma_data**2, n * sigma_data * w.sqrt(), w, w.sqrt())


def moved_output(
    prediction: str,
    output: Tensor,
    score: Tensor,
    a: Tensor,
    n: Tensor,
    sigma_data: float = SIGMA_DATA,
) -> Tensor:
    """F where guidance's score moves the noise, ε̂ ← ε̂ − n · score (Dhariwal & Nichol 2021, alg. 2).

    x̂_0 = (x − n ε̂)/a then moves by n²/a · score, and F with it:

        F ← F + r/q · n²/a · score,   which is −n of ε, −n/a of v and −n (a + n)/a of a velocity

    Noise alone, a = 0, shows nothing, and is not moved.

    Arguments:
        prediction: one of `PREDICTIONS`.
        output, score: F and the score at x = a x_0 + n ε, (B, C, H, W).
        a, n, sigma_data: as of `coefficients`.
    """
    row = coefficients(prediction, a, n, sigma_data)
    gain = torch.where(a > 0, n**2 / a, 0.0) * row.divisor / row.of_output
    return output + gain * score


def target(
    prediction: str,
    x0: Tensor,
    noise: Tensor,
    a: Tensor,
    n: Tensor,
    sigma_data: float = SIGMA_DATA,
) -> Tensor:
    """What F should give at x = a x_0 + n ε, (B, C, H, W).

    Arguments:
        prediction: one of `PREDICTIONS`.
        x0, noise: x_0 and ε, (B, C, H, W).
        a, n, sigma_data: as of `coefficients`.
    """
    if prediction == "epsilon":
        return noise
    if prediction in ("x0", "flow_x0"):
        return x0
    if prediction == "v":
        return a * noise - n * x0
    if prediction == "velocity":
        return noise - x0
    w = n**2 + (a * sigma_data) ** 2
    return (n * x0 - a * sigma_data**2 * noise) / (sigma_data * w.sqrt())


def time_of(time: str, a: Tensor, n: Tensor) -> Tensor:
    """What a network is told of the noise at x = a x_0 + n ε, of the shape of a and n.

    Arguments:
        time: `signal`, `tau`, `log_sigma` or `angle`; a level is what it is.
        a, n: as of `coefficients`.
    """
    if time == "log_sigma":
        return (n / a).log()
    if time == "angle":
        return torch.atan2(n, a) * (2 / math.pi)
    return (a if time == "signal" else n) / (a + n)


def alpha_bar_of_time(time: str, value: Tensor) -> Tensor:
    """ᾱ = a² of what a network is told: the inverse of `time_of`.

    Arguments:
        time: `signal`, `tau`, `log_sigma` or `angle`.
        value: 1 − τ, τ, log n/a or φ.
    """
    if time == "log_sigma":
        return 1 / (1 + (2 * value).exp())
    if time == "angle":
        return torch.cos(value * math.pi / 2) ** 2
    tau = 1 - value if time == "signal" else value
    return (1 - tau) ** 2 / ((1 - tau) ** 2 + tau**2)
