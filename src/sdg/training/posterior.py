"""Beliefs over a bank of sentences: log-probabilities, their losses and their calibration."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "calibration_error",
    "log_posterior",
    "moved_uphill",
    "score_error",
    "soft_cross_entropy",
]


def log_posterior(z: Tensor, text: Tensor) -> Tensor:
    """log softmax_k z · E_text(y_k), (B, K).

    Arguments:
        z: embeddings at their own length, (B, D).
        text: unit embeddings of the sentences, (K, D).
    """
    # In fp32 whatever surrounds it: near 100 two neighbouring bfloat16 numbers are 0.5 apart.
    with torch.autocast(z.device.type, enabled=False):
        dtype = torch.promote_types(z.dtype, torch.float32)
        return (z.to(dtype) @ text.to(z.device, dtype).T).log_softmax(1)


def soft_cross_entropy(target: Tensor, answer: Tensor) -> Tensor:
    """−Σ_k p(k) log q(k) of each row, in nats, (B,), from log p and log q, (B, K)."""
    return -(target.exp() * answer).sum(1)


def moved_uphill(log_q: Tensor, x: Tensor, distance: Tensor) -> Tensor:
    """x + d ∇log q / ‖∇log q‖ of each image, without a gradient, shaped as x.

    Arguments:
        log_q: one number an image, (B,), made from `x`.
        x: images that require a gradient, (B, C, H, W).
        distance: d, Euclidean, (B, 1, 1, 1).
    """
    (gradient,) = torch.autograd.grad(log_q.sum(), x)
    unit = F.normalize(gradient.flatten(1), dim=1).view_as(x)
    return x.detach() + distance * unit


def score_error(
    log_q: Tensor, x_t: Tensor, predicted: Tensor, noise: Tensor, sigma: Tensor
) -> Tensor:
    """‖ε̂ − σ ∇_x log q(k | x_t) − ε‖² of each image, (B,), whose gradient passes through ∇_x.

    Denoising likelihood score matching (Chao et al. 2022, arXiv 2203.14206). For k ~ p(k | x_0) and
    ε̂ = E[ε | x_t] the mean is least at ∇_x log q(k | x_t) = ∇_x log p(k | x_t).

    Arguments:
        log_q: of one sentence an image, (B,), made from `x_t`.
        x_t: noisy images that require a gradient, (B, C, H, W).
        predicted: ε̂ of the denoiser, of the same shape.
        noise: ε, likewise.
        sigma: √(1−ᾱ_t), (B, 1, 1, 1).
    """
    (gradient,) = torch.autograd.grad(log_q.sum(), x_t, create_graph=True)
    return (predicted - sigma * gradient - noise).square().flatten(1).sum(1)


def calibration_error(confidence: Tensor, accuracy: Tensor, bins: int = 10) -> Tensor:
    """Σ_b n_b/N · |mean confidence − mean accuracy| over bins b of confidence.

    The expected calibration error (Guo et al. 2017, arXiv 1706.04599, eq. 3).

    Arguments:
        confidence: q of each answer, in [0, 1], (N,).
        accuracy: whether it is true, or how likely that is, in [0, 1], (N,).
        bins: of equal width.
    """
    place = (confidence * bins).long().clamp(max=bins - 1)
    gaps = confidence.new_zeros(bins).index_add(0, place, confidence - accuracy)
    return gaps.abs().sum() / len(confidence)
