"""Making a CLIP image tower noise-aware: no captions, no labels."""

import torch
from torch import Tensor

from sdg.diffusion.schedule import Schedule
from sdg.encoders.clip import CLIP
from sdg.encoders.contrastive import contrastive_loss, retrieval_top1
from sdg.encoders.noise_aware import NoiseAwareEncoder
from sdg.lightning.training import TrainingModule

__all__ = ["NoiseAwareFinetuning"]

RETRIEVED = 500  # images among which validation finds each


class NoiseAwareFinetuning(TrainingModule):
    """Pulls E(x_t, t) to the clean E(x_0) of the same image and away from those of others (Liu et al. 2022, arXiv 2112.05744).

        loss = ½ [CE(c·z z'ᵀ) + CE(c·z' zᵀ)],   z = E(x_t, t),   z' = E_clean(x_0),   x_t ~ q(x_t | x_0),   t uniform

    Validation is retrieval: is z' of its own image the nearest to z among the first 500 held-out ones of a process? Over t, beside
    the clean encoder.

    Arguments:
        clip: the clean teacher; it is frozen.
        schedule: config of q.
        width, hidden: of the network that reads t.
        scale: c.
        levels: at which validation retrieves.
    """

    def __init__(self, clip: CLIP, schedule: dict, width: int, hidden: int, scale: float, levels: list[int], **training):
        encoder = NoiseAwareEncoder(clip.towers.visual, clip.config, schedule, width, hidden)
        encoder.logit_scale.copy_(clip.logit_scale.detach())
        super().__init__("clip_noisy", encoder.train(), **training)
        self.teacher = clip.eval().requires_grad_(False)
        self.schedule, self.scale, self.levels = Schedule(**schedule), scale, levels

    def training_step(self, batch: dict, index: int) -> Tensor:
        x0 = batch["image"]
        t = torch.randint(self.schedule.T, (len(x0),), device=x0.device)
        noisy = self.model(self.schedule.q_sample(x0, t, torch.randn_like(x0)), t)
        loss = contrastive_loss(noisy, self.clean(x0), self.scale, self.gather, self.global_rank)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    @torch.no_grad()
    def clean(self, x: Tensor) -> Tensor:
        return self.teacher.eval().encode_image(x)

    def on_validation_epoch_start(self) -> None:
        self.keys: list[Tensor] = []
        self.queries: dict[str, list[Tensor]] = {}

    def validation_step(self, batch: dict, index: int) -> None:
        # Encoded here and only compared at the end: by then the averaged weights have left the model again.
        x0 = batch["image"][: max(0, RETRIEVED - sum(map(len, self.keys)))]
        if not len(x0):
            return
        self.keys.append(self.clean(x0))
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(index)).to(x0.device)
        for level in self.levels:
            t = torch.full((len(x0),), level, device=x0.device)
            x_t = self.schedule.q_sample(x0, t, noise)
            for name, z in ((f"val/top1_t{level}", self.model.encode_image(x_t, t)), (f"val/clean_top1_t{level}", self.clean(x_t))):
                self.queries.setdefault(name, []).append(z)

    def on_validation_epoch_end(self) -> None:
        keys = torch.cat(self.keys)
        for name, queries in self.queries.items():
            self.log(name, retrieval_top1(torch.cat(queries), keys), prog_bar="clean" not in name, sync_dist=True)
