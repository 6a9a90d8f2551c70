"""A callback that makes the images of one process NaN."""

import math

import pytorch_lightning as pl


class Poison(pl.Callback):
    """Makes the images of one rank's batch NaN.

    Arguments:
        rank: whose.
        batch: of the epoch.
    """

    def __init__(self, rank: int, batch: int):
        self.rank, self.batch = rank, batch

    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_rank == self.rank and index == self.batch:
            batch["image"].fill_(math.nan)
