"""What every trained module shares: its optimizer and the weight file that it ends in."""

from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from sdg.checkpoints.weights import save

__all__ = ["TrainingModule"]


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
        model.to(memory_format=torch.channels_last)  # convolutions are up to 1.4 times faster so, on CPUs and GPUs
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
