"""The noisy images that an encoder learns from: drawn, moved a little, or made by guidance."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sdg.diffusion.schedule import Schedule
from sdg.models.autoencoder import Autoencoder
from sdg.models.noisy import NoisyEncoder
from sdg.training.banks import one_group
from sdg.training.on_policy import OnPolicy
from sdg.training.posterior import log_posterior, moved_uphill

__all__ = ["NoisyBatch", "NoisyBatches", "pictures"]


class NoisyBatch(NamedTuple):
    """Images of one training step.

    Attributes:
        x_t: noisy images, (B, C, H, W).
        t: their levels, (B,).
        x0: the clean images, shaped as `x_t`.
        noise: ε of x_t ~ q(x_t | x_0), likewise.
        drawn: how many are of q(x_t | x_0); guidance makes those behind.
    """

    x_t: Tensor
    t: Tensor
    x0: Tensor
    noise: Tensor
    drawn: int


class NoisyBatches:
    """x_t ~ q(x_t | x_0),   t = ⌊T u^p⌋,   u uniform in [0, 1).

    Arguments:
        schedule: of q.
        level_power: p, from 0.1 to 10.
        robust_radius: ρ, how far images are moved, in units of the noise, at least 0.
        on_policy: makes images by guidance; None makes none.
        on_policy_share: how much of a batch it makes, in [0, 1].
    """

    def __init__(
        self,
        schedule: Schedule,
        level_power: float,
        robust_radius: float,
        on_policy: OnPolicy | None,
        on_policy_share: float,
    ):
        self.schedule, self.on_policy = schedule, on_policy
        self.level_power, self.robust_radius = level_power, robust_radius
        self.on_policy_share = on_policy_share

    def draw(self, x0: Tensor) -> NoisyBatch:
        """Levels and noise for clean images, (B, C, H, W)."""
        t = self.draw_levels(len(x0)).to(x0.device)
        drawn = len(x0) - round(self.on_policy_share * len(x0))
        if self.on_policy:
            t[drawn:] = self.on_policy.lowered(t[drawn:])
        noise = torch.randn_like(x0)
        return NoisyBatch(self.schedule.q_sample(x0, t, noise), t, x0, noise, drawn)

    def draw_levels(self, count: int) -> Tensor:
        """t = ⌊T u^p⌋ with u uniform in [0, 1), (count,)."""
        if self.level_power == 1:
            return torch.randint(self.schedule.T, (count,))
        levels = self.schedule.T * torch.rand(count, dtype=torch.float64) ** self.level_power
        return levels.long().clamp(max=self.schedule.T - 1)

    def alter(
        self, batch: NoisyBatch, encoder: NoisyEncoder, groups: Sequence[Sequence[Tensor]]
    ) -> NoisyBatch:
        """The batch with its images moved, and its last ones made by guidance.

        Arguments:
            encoder: E(x_t, t), whose belief they follow.
            groups: of sentences, (K, D) each, of every bank.
        """
        if self.robust_radius:
            batch = self.perturbed(batch, encoder, one_group(groups))
        if batch.drawn < len(batch.x0):
            batch = self.with_guided(batch, encoder, one_group(groups))
        return batch

    def perturbed(self, batch: NoisyBatch, encoder: NoisyEncoder, text: Tensor) -> NoisyBatch:
        """Images moved a little towards a sentence at random, as guidance moves them.

        x_t + u ρ σ_t g/‖g‖,  g = ∇_x log q(k | x_t),  k and u ∈ [0, 1) uniform for each image

        The encoder is to keep its belief there. An encoder whose gradient points at what images
        show, not at what only this network sees, guides better (Kawar et al. 2022, arXiv
        2208.08664).
        """
        x_t, t = batch.x_t, batch.t
        k = torch.randint(len(text), (len(x_t), 1), device=x_t.device)
        share = torch.rand(len(x_t), 1, 1, 1).to(x_t)
        x = x_t.detach().requires_grad_()
        log_q = log_posterior(encoder(x, t), text).gather(1, k)[:, 0]
        sigma = (1 - self.schedule.alpha_bar(t, x.device)).sqrt().to(x.dtype)
        return batch._replace(x_t=moved_uphill(log_q, x, self.robust_radius * share * sigma))

    def with_guided(self, batch: NoisyBatch, encoder: NoisyEncoder, text: Tensor) -> NoisyBatch:
        """The batch whose images from `drawn` on are made by guidance, noisy and clean.

        Each is guided by a sentence at random, its belief taken over `text`, (K, D).
        """
        if self.on_policy is None:
            return batch
        x_t, t, x0, _, drawn = batch
        k = torch.randint(len(text), (len(x0) - drawn, 1), device=x0.device)

        def log_belief(x: Tensor, level: Tensor) -> Tensor:
            return log_posterior(encoder(x, level), text).gather(1, k)[:, 0]

        guided, finished = self.on_policy(x0[drawn:], t[drawn:], log_belief)
        return batch._replace(
            x_t=torch.cat([x_t[:drawn], guided]), x0=torch.cat([x0[:drawn], finished])
        )


@torch.no_grad()
def pictures(batch: NoisyBatch, images: Tensor, autoencoder: Autoencoder | None) -> Tensor:
    """The clean images of a batch, (B, 3, H, W), which the teacher sees.

    Arguments:
        images: those that the batch was drawn from.
        autoencoder: of the latents that the batch holds; None where it holds images.
    """
    if autoencoder is None:
        return batch.x0
    if batch.drawn == len(images):
        return images
    made = autoencoder.eval().decode(batch.x0[batch.drawn :]).clamp(-1, 1)
    return torch.cat([images[: batch.drawn], made])
