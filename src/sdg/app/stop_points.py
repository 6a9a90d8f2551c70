"""Where a signal may end Lightning's loops: between steps with a checkpoint, between batches."""

import signal
from pathlib import Path

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from sdg.app.stopping import STOP

__all__ = ["StopPoints", "end_by_signal_only_here"]


def end_by_signal_only_here(trainer: pl.Trainer) -> None:
    """Takes SIGTERM from Lightning, which would end the program without a checkpoint or a word.

    A warning by SLURM stays Lightning's, where it puts the job into the queue again.
    """
    connector = trainer._signal_connector
    connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]
    if SLURMEnvironment.detect():
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # else Lightning finds the place taken


class StopPoints(pl.Callback):
    """Holds signals back while a step or a batch is at work.

    Training steps: all processes agree, and leave a checkpoint behind. Validation may be ended at
    any moment: the checkpoint of its step is written before it. Sampled batches: each process ends
    its own.
    """

    def __init__(self) -> None:
        self.steps = 0  # that the last batch had behind it

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.steps = trainer.global_step
        STOP.hold("step")

    def on_train_batch_end(self, trainer: pl.Trainer, *args) -> None:
        if trainer.global_step == self.steps:  # gradients are being accumulated
            return
        self.steps = trainer.global_step
        stop = trainer.strategy.reduce_boolean_decision(STOP.asked is not None, all=False)
        if self.validation_follows(trainer) and not self.saved_anyway(trainer):
            self.save(trainer)
        if stop:
            for callback in trainer.checkpoint_callbacks:  # their turn would come after ours
                callback.on_train_batch_end(trainer, *args)
            self.save(trainer)
            STOP.ask()
            STOP.release()

    def validation_follows(self, trainer: pl.Trainer) -> bool:
        """Whether Lightning is about to validate."""
        loop = trainer.fit_loop
        return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # type: ignore[arg-type]

    def saved_anyway(self, trainer: pl.Trainer) -> bool:
        """Whether the checkpoint callback or the module is about to write `last.ckpt`."""
        every = getattr(trainer.checkpoint_callback, "_every_n_train_steps", 0)
        return trainer.global_step == trainer.max_steps or (
            bool(every) and trainer.global_step % every == 0
        )

    def save(self, trainer: pl.Trainer) -> None:
        """Writes `last.ckpt`, if the run keeps checkpoints."""
        callback = trainer.checkpoint_callback
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None:
            trainer.save_checkpoint(Path(callback.dirpath) / "last.ckpt")

    def on_validation_start(self, trainer: pl.Trainer, *args) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            STOP.release()

    def on_validation_end(self, trainer: pl.Trainer, *args) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            STOP.hold("step")

    def on_predict_batch_start(self, *args) -> None:
        STOP.hold("batch")

    def on_predict_batch_end(self, *args) -> None:
        STOP.release()
