"""Making a CLIP image tower noise-aware: no captions, no labels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sdg.diffusion.schedule import Schedule
from sdg.encoders.clip import CLIP
from sdg.encoders.contrastive import contrastive_loss, retrieval_top1
from sdg.encoders.noise_aware import NoiseAwareEncoder
from sdg.encoders.towers import at_resolution
from sdg.errors import choice, number
from sdg.lightning.training import TrainingModule

__all__ = ["NoiseAwareFinetuning"]

RETRIEVED = 500  # images among which validation finds each


class NoiseAwareFinetuning(TrainingModule):
    """Pulls E(x_t, t) to the clean E(x_0) of the same image and away from those of others (Liu et al. 2022, arXiv 2112.05744).

        loss = ½ [CE(c·z z'ᵀ) + CE(c·z' zᵀ)] + w (1 − z·z'),   z = E(x_t, t),   z' = E_clean(x_0),   x_t ~ q(x_t | x_0),   t uniform

    The first part tells images apart and lets z drift from z' where no image of the batch is: a sentence's embedding, which lies beside
    all images, is then misread even at t = 0. The second, ours, holds z at z'; its minimum is the direction of E[z' | x_t].

    The teacher sees x_0 at its own resolution, the copy x_t at the denoiser's.

    Validation is retrieval: is z' of its own image the nearest to z among the first 500 held-out ones of a process? Over t, beside
    the clean encoder.

    Arguments:
        clip: the clean teacher; it is frozen.
        resolution: side of the noised images.
        schedule: config of q.
        width, hidden: of the network that reads t.
        scale: c.
        cosine_weight: w; 0 is the paper's loss.
        levels: at which validation retrieves.
        freeze: stages whose weights stay.
        checkpointing: compute the tower's blocks again for the gradient instead of keeping their insides.
    """

    def __init__(self, clip: CLIP, resolution: int, schedule: dict, width: int, hidden: int, scale: float, cosine_weight: float, levels: list[int],
                 freeze: Sequence[str] = (), checkpointing: bool = False, **training):
        model, tower = at_resolution(clip.config["model"], clip.tower, resolution)
        encoder = NoiseAwareEncoder(tower, clip.config | {"model": model}, schedule, width, hidden)
        encoder.freeze(freeze)
        encoder.checkpointing = choice("encoder.checkpointing", checkpointing, (False, True))
        encoder.logit_scale.copy_(clip.logit_scale.detach())
        super().__init__("clip_noisy", encoder.train(), **training)
        self.teacher = clip.eval().requires_grad_(False)
        self.schedule, self.scale, self.weight, self.levels = Schedule(**schedule), scale, number("module.cosine_weight", cosine_weight, 0), levels

    def training_step(self, batch: dict, index: int) -> Tensor:
        x0 = batch["image"]
        t = torch.randint(self.schedule.T, (len(x0),), device=x0.device)
        noisy = self.model(self.schedule.q_sample(x0, t, torch.randn_like(x0)), t)
        clean = self.clean(x0)
        loss, distance = contrastive_loss(noisy, clean, self.scale, self.gather, self.global_rank), 1 - (noisy * clean).sum(-1).mean()
        self.log_dict({"train/contrastive": loss, "train/distance": distance}, prog_bar=True)
        return loss + self.weight * distance

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
            z = self.model.encode_image(x_t, t)
            self.log(f"val/cosine_t{level}", (z * self.keys[-1]).sum(-1).mean(), sync_dist=True, batch_size=len(x0))
            self.queries.setdefault(f"val/top1_t{level}", []).append(z)
            self.queries.setdefault(f"val/clean_top1_t{level}", []).append(self.clean(x_t))

    def on_validation_epoch_end(self) -> None:
        keys = torch.cat(self.keys)
        for name, queries in self.queries.items():
            self.log(name, retrieval_top1(torch.cat(queries), keys), prog_bar="clean" not in name, sync_dist=True)
