"""What every trained module shares: its optimizer and the weight file that it ends in."""

import math
from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sdg.checkpoints.weights import save

__all__ = ["TrainingModule", "warmup_cosine"]


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05) -> LambdaLR:
    """The learning rate's share of its peak: k/(wT) while k < wT, then ½ (1 + cos(π (k − wT)/(T − wT))), at step k of T.

    A function of the step alone: a resumed run may have another T.

    Arguments:
        warmup: w, the fraction of steps in which it rises.
    """
    rise = max(1, round(warmup * total_steps))

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total_steps - rise)))) / 2
    return LambdaLR(optimizer, share)


class TrainingModule(pl.LightningModule):
    """A model being trained.

    Arguments:
        kind: of weight file, as `sdg.checkpoints.weights` knows it.
        model: what is trained and exported; its `config`, plain JSON, rebuilds it.
        optimizer: from parameters to an optimizer.
        lr_schedule: from an optimizer and `total_steps` to a scheduler, moved once per step.
    """

    def __init__(self, kind: str, model: nn.Module, optimizer: Callable, lr_schedule: Callable):
        super().__init__()
        model.to(memory_format=torch.channels_last)  # the encoders train 1.4 times faster so on a CPU
        self.kind, self.model, self.optimizer, self.lr_schedule = kind, model, optimizer, lr_schedule

    def configure_optimizers(self) -> dict:
        optimizer = self.optimizer([p for p in self.model.parameters() if p.requires_grad])
        scheduler = self.lr_schedule(optimizer, total_steps=self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def gather(self, z: Tensor) -> Tensor:
        """Every rank's embeddings, (ranks, N, D), with gradient."""
        return self.all_gather(z, sync_grads=True) if self.trainer.world_size > 1 else z[None]

    def export(self, folder: str | Path, half: bool = False) -> Path:
        """Writes the model as safetensors, in `half` precision or full; after training Lightning has left the averaged weights in it."""
        return save(Path(folder) / f"{self.kind}.safetensors", self.kind, self.model, self.model.config, half)
