"""Training the judge on labelled images of a seed that nothing else sees."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sdg.metrics.layout import intersection_over_union
from sdg.models.judge import Judge
from sdg.training.module import TrainingModule, cross_entropies

__all__ = ["JudgeTraining"]


class JudgeTraining(TrainingModule):
    """Cross-entropy of every factor and of every pixel's belonging to the object.

    Images have a little noise, since samples are never as clean as renderings.

    Arguments:
        judge: the classifier.
        noise: largest standard deviation of the noise added in training, in units of [-1, 1].
    """

    model: Judge

    def __init__(self, judge: Judge, noise: float = 0.1, **training):
        super().__init__("judge", judge, **training)
        self.noise = noise

    def training_step(self, batch: dict, index: int) -> Tensor:
        x = batch["image"]
        level = self.noise * torch.rand(len(x), 1, 1, 1, device=x.device)
        read = self.model(x + level * torch.randn_like(x))
        outline = F.binary_cross_entropy_with_logits(read.mask, batch["mask"].float())
        loss = cross_entropies(read.logits, batch["factors"]) + outline
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict, index: int) -> None:
        read = self.model(batch["image"])
        right = (read.guesses() == batch["factors"]).float()
        for factor, share in zip(self.model_config["factors"], right.mean(0), strict=True):
            self.log(f"val/{factor}", share, sync_dist=True, batch_size=len(right))
        self.log(
            "val/mask_iou",
            intersection_over_union(read.mask > 0, batch["mask"]).mean(),
            sync_dist=True,
            batch_size=len(right),
        )
        self.log(
            "val/all", right.prod(1).mean(), prog_bar=True, sync_dist=True, batch_size=len(right)
        )
