"""Training the noise-aware classifier on labelled images."""

import torch
from torch import Tensor

from sdg.diffusion.schedule import Schedule
from sdg.models.classifier import NoisyClassifier
from sdg.training.module import TrainingModule, cross_entropies

__all__ = ["ClassifierTraining"]


class ClassifierTraining(TrainingModule):
    """Minimises −log p(y | x_t) of every factor, x_t ~ q(x_t | x_0), t uniform.

    Validation is accuracy over t.

    Arguments:
        classifier: the model; its schedule is q's.
        levels: at which validation reads.
    """

    model: NoisyClassifier

    def __init__(self, classifier: NoisyClassifier, levels: list[int], **training):
        super().__init__("classifier_noisy", classifier, **training)
        self.schedule, self.levels = Schedule(**classifier.config["schedule"]), levels

    def training_step(self, batch: dict, index: int) -> Tensor:
        x0 = batch["image"]
        t = torch.randint(self.schedule.T, (len(x0),), device=x0.device)
        logits = self.model.by_factor(
            self.model(self.schedule.q_sample(x0, t, torch.randn_like(x0)), t)
        )
        loss = cross_entropies(logits, batch["factors"])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict, index: int) -> None:
        x0 = batch["image"]
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(index)).to(x0.device)
        for level in self.levels:
            t = torch.full((len(x0),), level, device=x0.device)
            logits = self.model.by_factor(self.model(self.schedule.q_sample(x0, t, noise), t))
            for (factor, out), target in zip(logits.items(), batch["factors"].T, strict=True):
                self.log(
                    f"val/{factor}_t{level}",
                    (out.argmax(1) == target).float().mean(),
                    sync_dist=True,
                    batch_size=len(x0),
                )
