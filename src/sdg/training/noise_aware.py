"""Making an image encoder of a CLIP noise-aware: no captions, no labels."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, choice, integer, number
from sdg.models.clip import CLIP
from sdg.training.banks import banks_of
from sdg.training.contrastive import contrastive_loss
from sdg.training.encoder_validation import EncoderValidation
from sdg.training.on_policy import OnPolicy
from sdg.training.posterior import (
    log_posterior,
    moved_uphill,
    score_error,
    soft_cross_entropy,
)
from sdg.training.starting_encoder import denoiser_levels, starting_encoder

__all__ = ["NoiseAwareFinetuning"]

MAX_SNR = (
    5  # above it the weight of score matching falls, so that small t does not outweigh the rest
)


class NoiseAwareFinetuning(EncoderValidation):
    """Pulls E(x_t, t) to the clean E(x_0) of the same image and away from those of others.

    After Liu et al. 2022 (arXiv 2112.05744),

        loss = w_1 ½ [CE(c·u z'ᵀ) + CE(c·z' uᵀ)] + w_2 (1 − u·z') + w_3 CE(p_c(· | x_0), q(· | x_t))
             + w_4 min(1, 5/SNR_t) ‖ε̂(x_t) − σ_t ∇_x log q(k | x_t) − ε‖²,   k ~ p_c(· | x_0)
        u = z/‖z‖,   z = E(x_t, t),   z' = E_clean(x_0),
        x_t ~ q(x_t | x_0),   t = T u^p, u uniform

    The first part tells images apart and lets z drift from z' where no image of the batch is: a
    sentence's embedding, which lies beside all images, is then misread even at t = 0. The second,
    ours, holds z at z'; its minimum is the direction of E[z' | x_t]. The third, posterior
    distillation, trains a calibrated encoder. Over a bank of sentences y_k, other ones each step,

        p_c(k | x_0) = softmax_k c · cos(E_clean(x_0), E_text(y_k))
          q(k | x_t) = softmax_k z · E_text(y_k)

    and its minimum is q(k | x_t) = E[p_c(k | x_0) | x_t], the clean CLIP's belief given the noisy
    image. No image has a label. The fourth, score matching (Chao et al. 2022, arXiv 2203.14206),
    trains what guidance uses, the gradient, on some images of a batch, since it is differentiated
    twice; each step takes one bank at random, and one of its groups of sentences.

    The teacher sees x_0 at its own resolution, the copy x_t at the denoiser's.

    Arguments:
        clip: the clean teacher; it is frozen.
        resolution: side of the noised images.
        schedule: config of q.
        width, hidden: of the network that reads t.
        scale: c.
        cosine_weight: w_2; 0 is the paper's loss.
        levels: at which validation retrieves.
        freeze: stages whose weights stay.
        checkpointing: compute the tower's blocks again for the gradient instead of keeping their
            insides.
        contrastive_weight: w_1.
        posterior_weight: w_3; with it or `score_weight` above 0 the encoder is calibrated.
        bank: where the sentences come from: `captions` of the data; `neighbours`, captions that
            nearly say the same, 64 to a group; `templates`, the captions of its classes, those of
            each factor a group; a file with one sentence a line; or several of these. Losses add.
        bank_size: sentences of a bank in each step, of `neighbours` in all its groups together.
        score_weight: w_4; the norm is a sum over pixels.
        score_batch: on how many images of a batch.
        denoiser: that gives ε̂, frozen, and with `tower=denoiser` the weights to start from.
        tower: `clip`, a copy of the CLIP's image tower, its norms modulated by t; or `denoiser`,
            the contracting half of the denoiser.
        level_power: p; 1 draws t uniformly, less draws noisy images more often.
        robust_radius: ρ, how far images are moved towards a sentence at random before they are
            read, in units of the noise; for a calibrated encoder.
        estimate: with `tower=denoiser`, read the denoiser's x̂_0(x_t) beside x_t.
        on_policy_share: of a batch, how much is made by guidance, as `OnPolicy` says.
        on_policy_steps, on_policy_gamma: its n, and its largest γ.

    Raises:
        UserError: no objective has a weight; `tower=denoiser` has no denoiser; score matching or
            `on_policy_share` has no denoiser, or one of other images or noise levels.
    """

    def __init__(
        self,
        clip: CLIP,
        resolution: int,
        schedule: dict,
        width: int,
        hidden: int,
        scale: float,
        cosine_weight: float,
        levels: list[int],
        freeze: Sequence[str] = (),
        checkpointing: bool = False,
        contrastive_weight: float = 1.0,
        posterior_weight: float = 0.0,
        bank: str | Sequence[str] = "captions",
        bank_size: int = 512,
        score_weight: float = 0.0,
        score_batch: int = 32,
        denoiser: Denoiser | None = None,
        tower: str = "clip",
        level_power: float = 1.0,
        estimate: bool = False,
        robust_radius: float = 0.0,
        on_policy_share: float = 0.0,
        on_policy_steps: int = 8,
        on_policy_gamma: float = 15.0,
        **training,
    ):
        weights = {
            "contrastive": contrastive_weight,
            "cosine": cosine_weight,
            "posterior": posterior_weight,
            "score": score_weight,
        }
        for name, weight in weights.items():
            number(f"module.{name}_weight", weight, 0)
        if not any(weights.values()):
            raise UserError(
                "every objective has weight 0: set module.contrastive_weight, cosine_weight, "
                "posterior_weight or score_weight."
            )
        calibrated = weights["posterior"] + weights["score"] > 0
        encoder = starting_encoder(
            choice("module.tower", tower, ("clip", "denoiser")),
            clip,
            denoiser,
            resolution,
            schedule,
            width,
            hidden,
            calibrated,
            choice("module.estimate", estimate, (False, True)),
        )
        encoder.freeze(freeze)
        encoder.checkpointing = choice("encoder.checkpointing", checkpointing, (False, True))
        encoder.logit_scale.copy_(clip.logit_scale.detach())
        super().__init__("clip_noisy", encoder.train(), **training)
        self.teacher = clip.eval().requires_grad_(False)
        self.schedule, self.scale, self.weights, self.levels = (
            Schedule(**schedule),
            scale,
            weights,
            levels,
        )
        self.bank_names, self.bank_size, self.banks = bank, bank_size, None
        self.level_power = number("module.level_power", level_power, 0.1, 10)
        self.robust_radius = number("module.robust_radius", robust_radius, 0)
        for key, value in {
            "robust_radius": robust_radius,
            "on_policy_share": on_policy_share,
        }.items():
            if value and not calibrated:
                raise UserError(
                    f"module.{key} moves images by an encoder's belief, which needs "
                    "module.posterior_weight or module.score_weight above 0."
                )
        self.score_batch, self.denoiser = integer("module.score_batch", score_batch, 1), None
        if estimate:
            self.denoiser = denoiser
            encoder.attach(denoiser)
        if weights["score"]:
            matching = denoiser_levels("module.score_weight", denoiser, self.schedule, resolution)
            self.denoiser, self.matching = denoiser, matching
        self.on_policy_share = number("module.on_policy_share", on_policy_share, 0, 1)
        self.on_policy: OnPolicy | None = None
        if on_policy_share:
            matching = denoiser_levels(
                "module.on_policy_share", denoiser, self.schedule, resolution
            )
            self.denoiser = denoiser
            self.on_policy = OnPolicy(
                denoiser, self.schedule, matching, on_policy_steps, on_policy_gamma
            )

    def setup(self, stage: str) -> None:
        if self.model.calibrated and self.banks is None:
            data = self.trainer.datamodule
            self.banks = banks_of(
                self.bank_names,
                self.bank_size,
                data.train,
                data.held_out,
                self.encode_text,
            )

    def training_step(self, batch: dict, index: int) -> Tensor:
        x0 = batch["image"]
        t = self.draw_levels(len(x0)).to(x0.device)
        drawn = len(x0) - round(self.on_policy_share * len(x0))
        if self.on_policy:
            t[drawn:] = self.on_policy.lowered(t[drawn:])
        noise = torch.randn_like(x0)
        x_t = self.schedule.q_sample(x0, t, noise)
        groups = [bank.sample(batch) for bank in self.banks or ()]
        if self.robust_radius:
            x_t = self.perturbed(x_t, t, one_of(one_of(groups)))
        if drawn < len(x0):
            x_t, x0 = self.with_guided(x_t, x0, t, drawn, one_of(one_of(groups)))
        if self.weights["score"]:
            first = x_t[: min(self.score_batch, drawn)].requires_grad_()
            # Neither the compiled forward nor a fused attention can be differentiated twice.
            with sdpa_kernel(SDPBackend.MATH):
                z = self.model.embed(first, t[: len(first)])
            if len(first) < len(x_t):
                z = torch.cat([z, self.model(x_t[len(first) :], t[len(first) :])])
        else:
            z = self.model(x_t, t)
        unit, clean = F.normalize(z, dim=-1), self.clean(x0)
        losses = {"distance": 1 - (unit * clean).sum(-1).mean()}
        total = self.weights["cosine"] * losses["distance"]
        if self.weights["contrastive"]:
            losses["contrastive"] = contrastive_loss(
                unit, clean, self.scale, self.gather, self.global_rank
            )
            total = self.weights["contrastive"] * losses["contrastive"] + total
        if self.weights["posterior"]:
            texts = itertools.chain.from_iterable(groups)
            each = [
                soft_cross_entropy(self.belief(clean, text), log_posterior(z, text))
                for text in texts
            ]
            losses["posterior"] = sum(each).mean()
            total = total + self.weights["posterior"] * losses["posterior"]
        if self.weights["score"]:
            text = one_of(one_of(groups))
            n = len(first)
            losses["score"] = self.score_matching(z[:n], first, t[:n], noise[:n], clean[:n], text)
            total = total + self.weights["score"] * losses["score"]
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, prog_bar=True)
        return total

    def draw_levels(self, count: int) -> Tensor:
        """t = ⌊T u^p⌋ with u uniform in [0, 1), (count,)."""
        if self.level_power == 1:
            return torch.randint(self.schedule.T, (count,))
        levels = self.schedule.T * torch.rand(count, dtype=torch.float64) ** self.level_power
        return levels.long().clamp(max=self.schedule.T - 1)

    def perturbed(self, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Images moved a little towards a sentence at random, as guidance moves them.

        x_t + u ρ σ_t g/‖g‖,  g = ∇_x log q(k | x_t),  k and u ∈ [0, 1) uniform for each image

        The encoder is to keep its belief there. An encoder whose gradient points at what images
        show, not at what only this network sees, guides better (Kawar et al. 2022, arXiv
        2208.08664).
        """
        k = torch.randint(len(text), (len(x_t), 1), device=x_t.device)
        share = torch.rand(len(x_t), 1, 1, 1).to(x_t)
        x = x_t.detach().requires_grad_()
        log_q = log_posterior(self.model(x, t), text).gather(1, k)[:, 0]
        sigma = (1 - self.schedule.alpha_bar(t, x.device)).sqrt().to(x.dtype)
        return moved_uphill(log_q, x, self.robust_radius * share * sigma)

    def with_guided(
        self, x_t: Tensor, x0: Tensor, t: Tensor, drawn: int, text: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The batch's images, noisy and clean, those from `drawn` on made by guidance.

        Each is guided by a sentence at random, its belief taken over `text`, (K, D).
        """
        k = torch.randint(len(text), (len(x0) - drawn, 1), device=x0.device)

        def log_belief(x: Tensor, level: Tensor) -> Tensor:
            return log_posterior(self.model(x, level), text).gather(1, k)[:, 0]

        guided, finished = self.on_policy(x0[drawn:], t[drawn:], log_belief)
        return torch.cat([x_t[:drawn], guided]), torch.cat([x0[:drawn], finished])

    def score_matching(
        self, z: Tensor, x_t: Tensor, t: Tensor, noise: Tensor, clean: Tensor, text: Tensor
    ) -> Tensor:
        """The mean over images of the score-matching loss.

        It is min(1, 5/SNR_t) ‖ε̂ − σ_t ∇_x log q(k | x_t) − ε‖², k ~ p_c(· | x_0).
        """
        with torch.no_grad():
            k = torch.multinomial(self.belief(clean, text).exp(), 1)
            x0 = self.denoiser.eval().predict(x_t.detach(), self.matching.to(t.device)[t]).x0
            predicted = self.schedule.noise(x0, x_t.detach(), t)
        a = self.schedule.alpha_bar(t, x_t.device)
        log_q = log_posterior(z, text).gather(1, k)[:, 0]
        error = score_error(log_q, x_t, predicted, noise, (1 - a).sqrt().to(x_t.dtype))
        weight = (MAX_SNR * (1 - a) / a).clamp(max=1).flatten().to(error.dtype)
        return (weight * error).mean()

    @torch.no_grad()
    def clean(self, x: Tensor) -> Tensor:
        return self.teacher.eval().encode_image(x)

    @torch.no_grad()
    def encode_text(self, sentences: list[str]) -> Tensor:
        return self.teacher.eval().encode_text(sentences)

    def belief(self, clean: Tensor, text: Tensor) -> Tensor:
        """log p_c(k | x_0), (B, K)."""
        return log_posterior(self.teacher.logit_scale.detach() * clean, text)


def one_of(things: Sequence):
    """One at random, from torch's generator."""
    return things[int(torch.randint(len(things), ()))]
