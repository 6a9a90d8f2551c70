"""How far a training is."""

import math
import time

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar

from sdg.progress import Bar

__all__ = ["StepProgress"]

LITTLE = 0.5  # seconds between two readings of a run's figures


class StepProgress(ProgressBar):
    """One bar over all steps of the run; the first and the last loss in lines of their own.

    A validation shows how many of its batches are done.
    """

    def __init__(self):
        super().__init__()
        self.bar, self.figures, self.read, self.begun = Bar("step"), "", 0.0, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.begin(
            trainer.estimated_stepping_batches, trainer.global_step, trainer.is_global_zero
        )

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args) -> None:
        done, total = trainer.global_step, self.bar.tasks[self.bar.task].total
        edge = not self.begun or done >= total
        if edge or time.monotonic() - self.read > LITTLE:  # reading a figure waits for the GPU
            figures, self.read = self.get_metrics(trainer, pl_module), time.monotonic()
            self.figures = "  ".join(
                f"{name} {value:.3g}" for name, value in figures.items() if isinstance(value, float)
            )
        self.bar.reach(done, self.figures, notable=edge)
        self.begun = True

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.sanity_checking or not self.bar.tasks:  # which a training has that takes steps
            return
        batches = trainer.num_val_batches[dataloader_idx]  # infinite for a stream
        of = f"/{batches}" if math.isfinite(batches) else ""
        self.bar.reach(trainer.global_step, f"{self.figures}  validation {batch_idx + 1}{of}")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.bar.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.bar.stop()

    def disable(self) -> None:
        self.bar.disable = True
