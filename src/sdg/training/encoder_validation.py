"""How a noise-aware encoder is validated: by retrieval over t, and by its beliefs."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from sdg.diffusion.schedule import Schedule
from sdg.metrics.retrieval import retrieval_top1
from sdg.models.autoencoder import Autoencoder, latents_of
from sdg.models.noisy import NoisyEncoder
from sdg.training.banks import Bank
from sdg.training.frozen import Frozen
from sdg.training.module import TrainingModule
from sdg.training.posterior import calibration_error, log_posterior, soft_cross_entropy

__all__ = ["EncoderValidation"]

RETRIEVED = 500  # images among which validation finds each


class EncoderValidation(TrainingModule):
    """The validation of a module that trains E(x_t, t) beside a clean teacher.

    Is E_clean(x_0) of its own image the nearest to E(x_t, t) among the first 500 held-out ones of a
    process? Over t, beside the clean encoder, where x_t is an image. A calibrated encoder's beliefs
    are compared with the teacher's.

    Attributes:
        frozen: the autoencoder of the latents that E reads, if it reads such.
        schedule: of q.
        levels: at which it is validated.
        banks: of sentences, for a calibrated encoder.
    """

    model: NoisyEncoder
    schedule: Schedule
    levels: list[int]
    banks: list[Bank] | None
    frozen: Frozen[Autoencoder]

    @property
    def autoencoder(self) -> Autoencoder | None:
        return self.frozen.network

    @abstractmethod
    def clean(self, x: Tensor) -> Tensor:
        """The teacher's unit embeddings."""

    @abstractmethod
    def belief(self, clean: Tensor, text: Tensor) -> Tensor:
        """The teacher's log p_c(k | x_0), (B, K)."""

    def on_validation_epoch_start(self) -> None:
        self.keys: list[Tensor] = []
        self.queries: dict[str, list[Tensor]] = {}
        # By bank and level: confidence, and how likely the answer is true.
        self.answers: dict[str, list[Tensor]] = {}

    def validation_step(self, batch: dict, index: int) -> None:
        # Encoded here and only compared at the end: by then the averaged weights have left the
        # model again.
        x0 = batch["image"][: max(0, RETRIEVED - sum(map(len, self.keys)))]
        if not len(x0):
            return
        self.keys.append(self.clean(x0))
        x0 = latents_of(self.autoencoder, x0)
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(index)).to(x0.device)
        for level in self.levels:
            t = torch.full((len(x0),), level, device=x0.device)
            x_t = self.schedule.q_sample(x0, t, noise)
            z = self.model.embed(x_t, t)
            if self.model.calibrated:
                self.validate_posterior(z, self.keys[-1], level)
            z = F.normalize(z, dim=-1)
            self.log(
                f"val/cosine_t{level}",
                (z * self.keys[-1]).sum(-1).mean(),
                sync_dist=True,
                batch_size=len(x0),
            )
            self.queries.setdefault(f"val/top1_t{level}", []).append(z)
            if self.autoencoder is None:
                self.queries.setdefault(f"val/clean_top1_t{level}", []).append(self.clean(x_t))

    def validate_posterior(self, z: Tensor, clean: Tensor, level: int) -> None:
        loss = z.new_zeros(())
        for bank in self.banks or ():
            for text in bank.held_out():
                belief, answer = self.belief(clean, text), log_posterior(z, text)
                loss = loss + soft_cross_entropy(belief, answer).mean()
                confidence, first = answer.exp().max(1)
                likely = belief.exp().gather(1, first[:, None])[:, 0]
                answers = self.answers.setdefault(f"{bank.name}_t{level}", [])
                answers.append(torch.stack([confidence, likely]))
        self.log(f"val/posterior_t{level}", loss, sync_dist=True, batch_size=len(z))

    def on_validation_epoch_end(self) -> None:
        for name, answers in self.answers.items():
            error = calibration_error(*torch.cat(answers, 1))
            self.log(f"val/calibration_{name}", error, sync_dist=True)
        keys = torch.cat(self.keys)
        for name, queries in self.queries.items():
            self.log(
                name,
                retrieval_top1(torch.cat(queries), keys),
                prog_bar="clean" not in name,
                sync_dist=True,
            )
