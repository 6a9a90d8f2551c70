"""Making an image encoder of a CLIP noise-aware: no captions, no labels."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, choice, integer, number
from sdg.models.autoencoder import Autoencoder, latents_of
from sdg.models.clip import CLIP
from sdg.training.banks import banks_of, one_group
from sdg.training.contrastive import contrastive_loss
from sdg.training.encoder_validation import EncoderValidation
from sdg.training.frozen import Frozen, check_frozen
from sdg.training.noisy_batch import NoisyBatch, NoisyBatches, pictures
from sdg.training.on_policy import OnPolicy
from sdg.training.posterior import log_posterior, soft_cross_entropy
from sdg.training.score_matching import ScoreMatching
from sdg.training.starting_encoder import (
    denoiser_levels,
    needed_denoiser,
    objective_weights,
    starting_encoder,
)
from sdg.training.teacher_cache import TeacherCache

__all__ = ["NoiseAwareFinetuning"]


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

    The teacher sees x_0 at its own resolution, the copy x_t at the denoiser's. With an autoencoder
    x_0 and x_t are latents, and the teacher sees the image; no decoder is called but for what
    guidance makes.

    Arguments:
        clip: the clean teacher; it is frozen.
        resolution: side of the noised images, or latents.
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
        cache_teacher: encode each clean image once, as `TeacherCache` says.
        autoencoder: of the latents that the encoder reads, frozen; None where it reads images.

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
        cache_teacher: bool = False,
        autoencoder: Autoencoder | None = None,
        **training,
    ):
        weights = objective_weights(
            contrastive=contrastive_weight,
            cosine=cosine_weight,
            posterior=posterior_weight,
            score=score_weight,
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
            autoencoder,
        )
        encoder.freeze(freeze)
        encoder.checkpointing = choice("encoder.checkpointing", checkpointing, (False, True))
        encoder.logit_scale.copy_(clip.logit_scale.detach())
        super().__init__("clip_noisy", encoder.train(), **training)
        self.frozen_teacher = Frozen(clip.eval().requires_grad_(False))
        self.frozen = Frozen(autoencoder)
        cached = choice("module.cache_teacher", cache_teacher, (False, True))
        self.cache = TeacherCache(self.clean) if cached else None
        self.schedule, self.scale = Schedule(**schedule), scale
        self.weights, self.levels = weights, levels
        self.bank_names, self.bank_size, self.banks = bank, bank_size, None
        level_power = number("module.level_power", level_power, 0.1, 10)
        robust_radius = number("module.robust_radius", robust_radius, 0)
        moving = {"robust_radius": robust_radius, "on_policy_share": on_policy_share}
        for key, value in moving.items():
            if value and not calibrated:
                raise UserError(
                    f"module.{key} moves images by an encoder's belief, which needs "
                    "module.posterior_weight or module.score_weight above 0."
                )
        self.score_batch = integer("module.score_batch", score_batch, 1)
        asked: Denoiser | None = None
        if estimate:
            asked = needed_denoiser("module.estimate", denoiser)
            encoder.attach(asked)
        self.score_matching: ScoreMatching | None = None
        if weights["score"]:
            asked = needed_denoiser("module.score_weight", denoiser)
            matching = denoiser_levels(asked, self.schedule, resolution)
            self.score_matching = ScoreMatching(asked, self.schedule, matching)
        on_policy_share = number("module.on_policy_share", on_policy_share, 0, 1)
        on_policy: OnPolicy | None = None
        if on_policy_share:
            asked = needed_denoiser("module.on_policy_share", denoiser)
            matching = denoiser_levels(asked, self.schedule, resolution)
            on_policy = OnPolicy(asked, self.schedule, matching, on_policy_steps, on_policy_gamma)
        self.frozen_denoiser = Frozen(asked)
        self.noisy_batches = NoisyBatches(
            self.schedule, level_power, robust_radius, on_policy, on_policy_share
        )

    @property
    def teacher(self) -> CLIP:
        teacher = self.frozen_teacher.network
        assert teacher is not None  # the constructor takes one
        return teacher

    @property
    def frozen_parts(self) -> dict[str, Frozen[Any]]:
        """By the names that they had when checkpoints held them."""
        return {"teacher": self.frozen_teacher, "denoiser": self.frozen_denoiser}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["frozen"] = {name: part.digest for name, part in self.frozen_parts.items()}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        super().on_load_checkpoint(checkpoint)
        for name, part in self.frozen_parts.items():
            check_frozen(checkpoint, name, part)

    def setup(self, stage: str) -> None:
        if self.model.calibrated and self.banks is None:
            data = self.datamodule
            self.banks = banks_of(
                self.bank_names, self.bank_size, data.train, data.held_out, self.encode_text
            )

    def training_step(self, batch: dict, index: int) -> Tensor:
        images = batch["image"]
        noisy = self.noisy_batches.draw(latents_of(self.autoencoder, images))
        groups = [bank.sample(batch) for bank in self.banks or ()]
        noisy = self.noisy_batches.alter(noisy, self.model, groups)
        z, scored = self.embed(noisy)
        unit = F.normalize(z, dim=-1)
        clean = self.targets(pictures(noisy, images, self.autoencoder), noisy.drawn)
        losses = {"distance": 1 - (unit * clean).sum(-1).mean()}
        total = self.weights["cosine"] * losses["distance"]
        if self.weights["contrastive"]:
            losses["contrastive"] = contrastive_loss(
                unit, clean, self.scale, self.gather, self.global_rank
            )
            total = self.weights["contrastive"] * losses["contrastive"] + total
        if self.weights["posterior"]:
            losses["posterior"] = self.distillation(z, clean, groups)
            total = total + self.weights["posterior"] * losses["posterior"]
        if self.score_matching:
            text, n = one_group(groups), len(scored)
            log_p = self.belief(clean[:n], text)
            losses["score"] = self.score_matching(
                z[:n], scored, noisy.t[:n], noisy.noise[:n], log_p, text
            )
            total = total + self.weights["score"] * losses["score"]
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, prog_bar=True)
        return total

    def embed(self, noisy: NoisyBatch) -> tuple[Tensor, Tensor]:
        """z of all images, (B, D), and those images whose score is matched, (N, C, H, W).

        In these z can be differentiated twice.
        """
        x_t, t = noisy.x_t, noisy.t
        if self.score_matching is None:
            return self.model(x_t, t), x_t[:0]
        scored = x_t[: min(self.score_batch, noisy.drawn)].requires_grad_()
        n = len(scored)
        # Neither the compiled forward nor a fused attention can be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH):
            z = self.model.embed(scored, t[:n])
        if n < len(x_t):
            z = torch.cat([z, self.model(x_t[n:], t[n:])])
        return z, scored

    def distillation(self, z: Tensor, clean: Tensor, groups: Sequence[Sequence[Tensor]]) -> Tensor:
        """Σ CE(p_c(· | x_0), q(· | x_t)) over all groups of sentences, the mean over images."""
        each = [
            soft_cross_entropy(self.belief(clean, text), log_posterior(z, text))
            for text in itertools.chain.from_iterable(groups)
        ]
        return functools.reduce(torch.add, each).mean()

    def targets(self, images: Tensor, drawn: int) -> Tensor:
        """E_clean of all images, (B, D).

        Arguments:
            drawn: how many are of the data; those behind are new each time.
        """
        if self.cache is None or not drawn:
            return self.clean(images)
        kept = self.cache(images[:drawn])
        return torch.cat([kept, self.clean(images[drawn:])]) if drawn < len(images) else kept

    @torch.no_grad()
    def clean(self, x: Tensor) -> Tensor:
        return self.teacher.eval().encode_image(x)

    @torch.no_grad()
    def encode_text(self, sentences: list[str]) -> Tensor:
        return self.teacher.eval().encode_text(sentences)

    def belief(self, clean: Tensor, text: Tensor) -> Tensor:
        """log p_c(k | x_0), (B, K)."""
        return log_posterior(self.teacher.logit_scale.detach() * clean, text)
