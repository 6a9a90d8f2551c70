"""How fast a training is, and how long it waits for its data."""

import time
from collections import deque
from typing import NamedTuple

import pytorch_lightning as pl

__all__ = ["Speed"]


class Timing(NamedTuple):
    """Of a step."""

    images: int  # of all devices
    wait: float  # seconds from the end of the step before until it had them
    work: float  # its own seconds


class Speed(pl.Callback):
    """Logs `train/images_per_second` and `train/data_wait`, the share of time without data, 0 … 1.

    Both are of the last `trainer.log_every_n_steps` steps. What lies between two steps for another
    reason, validation or a checkpoint, is not counted. On a GPU a step ends when it is queued: what
    of a wait is hidden by the queue does not show.
    """

    def __init__(self) -> None:
        self.timings: deque[Timing] = deque()
        self.ended: float | None = (
            None  # when the step before did; None: another thing came between
        )
        self.begun = self.wait = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.timings = deque(maxlen=trainer.log_every_n_steps)  # type: ignore[attr-defined]
        self.ended = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: dict, batch_idx: int
    ) -> None:
        self.begun = time.monotonic()
        self.wait = 0.0 if self.ended is None else self.begun - self.ended

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: dict,
        batch_idx: int,
    ) -> None:
        if self.ended is not None:  # the first step warms up
            images = len(batch["image"]) * trainer.world_size
            self.timings.append(Timing(images, self.wait, time.monotonic() - self.begun))
            pl_module.log_dict(self.figures())
        self.ended = time.monotonic()

    def figures(self) -> dict[str, float]:
        wait = sum(timing.wait for timing in self.timings)
        seconds = wait + sum(timing.work for timing in self.timings)
        images = sum(timing.images for timing in self.timings)
        return {
            "train/images_per_second": images / max(seconds, 1e-9),
            "train/data_wait": wait / max(seconds, 1e-9),
        }

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ended = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict
    ) -> None:
        self.ended = None
