"""A callback that makes the images of one process or of all NaN."""

import math

import pytorch_lightning as pl


class Poison(pl.Callback):
    """Makes the images of one rank's batch NaN.

    Arguments:
        rank: whose; None for all.
        batch: of the epoch.
    """

    def __init__(self, rank: int | None, batch: int):
        self.rank, self.batch = rank, batch

    def on_train_batch_start(self, trainer, module, batch, index):
        if self.rank in (trainer.global_rank, None) and index == self.batch:
            batch["image"].fill_(math.nan)
