"""What every trained module shares: its optimizer and the weight file that it ends in."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sdg.data.datamodule import ImageData
from sdg.errors import UserError
from sdg.io.plain import differences
from sdg.io.tensors import not_finite
from sdg.io.weights_folder import save_folder
from sdg.training.checkpoints import checkpoints_in
from sdg.training.finite import FirstNonFinite, Place

__all__ = ["TrainingModule", "shortened", "timed_cosine", "warmup_cosine"]


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05) -> LambdaLR:
    """The learning rate's share of its peak at step k = 0 … T−1.

        (k+1)/(wT) while k < wT, then ½ (1 + cos(π (k − wT)/(T − wT)))

    A function of the step alone: a resumed run may have another T.

    Arguments:
        warmup: w, the fraction of steps in which it rises.
    """
    if not math.isfinite(total_steps):
        raise UserError(
            "the learning rate falls over the run's length: set trainer.max_steps or "
            "trainer.max_epochs."
        )
    rise = max(1, round(warmup * total_steps))

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total_steps - rise)))) / 2

    return LambdaLR(optimizer, share)


def timed_cosine(
    optimizer: Optimizer, total_steps: int, seconds: float, warmup: float = 0.05
) -> LambdaLR:
    """The learning rate's share of its peak over time.

    It is for a run that ends by the clock (`trainer.max_time`). At the elapsed share u of the time,
    0 ≤ u ≤ 1, it is

        u/w while u < w, then ½ (1 + cos(π (u − w)/(1 − w)))

    Two runs differ as their machine's speed does: use `warmup_cosine` where a run must be
    repeatable.

    Arguments:
        seconds: from now until the rate is zero.
        warmup: w, the share of the time in which it rises, in (0, 1).
    """
    began = time.monotonic()

    def share(step: int) -> float:
        u = min(1.0, (time.monotonic() - began) / seconds)
        return (
            u / warmup if u < warmup else (1 + math.cos(math.pi * (u - warmup) / (1 - warmup))) / 2
        )

    return LambdaLR(optimizer, share)


def cross_entropies(logits: Mapping[str, Tensor], factors: Tensor) -> Tensor:
    """The sum of the factors' cross-entropies, each a mean over the batch.

    Arguments:
        logits: {factor: (B, values)}.
        factors: the true values, integers (B, factors).
    """
    losses = [
        F.cross_entropy(out, target) for out, target in zip(logits.values(), factors.T, strict=True)
    ]
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total


def shortened(value) -> str:
    """A plain value as JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 60 else f"{text[:60]}… ({len(value)})"


class TrainingModule(pl.LightningModule):
    """A model being trained.

    Arguments:
        kind: of weight file, as `sdg.io.weights` knows it.
        model: what is trained and exported; its `config`, plain JSON, rebuilds it.
        optimizer: from parameters to an optimizer.
        lr_schedule: from an optimizer and `total_steps` to a scheduler, moved once per step.
        seed: of the training's noise.
    """

    def __init__(
        self, kind: str, model: nn.Module, optimizer: Callable, lr_schedule: Callable, seed: int = 0
    ):
        super().__init__()
        model.to(
            memory_format=torch.channels_last
        )  # the encoders train 1.4 times faster so on a CPU
        self.kind, self.model, self.seed = kind, model, seed
        self.optimizer, self.lr_schedule = optimizer, lr_schedule
        self.validated = -1  # after how many steps it was, last
        # Which a checkpoint keeps, so that none is continued with others.
        self.settings: dict | None = None
        self.non_finite, self.batch_index = FirstNonFinite(), 0

    @property
    def model_config(self) -> dict[str, Any]:
        """What rebuilds the model."""
        config: Any = self.model.config  # every model that can be trained has one
        return config

    @property
    def datamodule(self) -> ImageData:
        """The data that it trains on."""
        trainer: Any = self.trainer  # Lightning does not declare what it attaches
        data: ImageData = trainer.datamodule
        return data

    def configure_optimizers(self) -> OptimizerLRScheduler:
        try:
            optimizer = self.new_optimizer()
        except (TypeError, ValueError) as error:
            raise UserError(f"optimizer: {error}.") from error
        scheduler = self.lr_schedule(optimizer, total_steps=self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def new_optimizer(self) -> Optimizer:
        """The optimizer, fused only where its gradients may be cut.

        Lightning refuses a fused one for every mixed precision. Only float16's scales gradients,
        which a fused optimizer would see after they were cut.
        """
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        optimizer: Any = self.optimizer(parameters)
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            if self.trainer.precision == "16-mixed" and self.trainer.gradient_clip_val:
                return self.optimizer(parameters, fused=False)
            if self.trainer.precision != "16-mixed":
                optimizer._step_supports_amp_scaling = False
        return optimizer

    def on_train_batch_start(self, batch: dict, index: int) -> None:
        self.batch_index = index
        # The step's levels and noise follow from seed, rank and step: ranks draw their own, and a
        # resumed run draws what it would have.
        key = np.random.SeedSequence([self.seed, self.global_rank, self.global_step, index])
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))

    def backward(self, loss: Tensor, *args, **options) -> None:
        # Before the step is taken: on a CPU the weights are still those of the last good one.
        place = Place(self.global_step, self.current_epoch, self.batch_index)
        self.stop_at(self.non_finite.add(loss, place))
        super().backward(loss, *args, **options)

    def optimizer_step(self, *args, **options) -> None:
        try:
            super().optimizer_step(*args, **options)
        except RuntimeError as error:
            if "without overflow" not in str(error):
                raise
            raise UserError(
                f"step {self.global_step} is beyond what float32 holds; lower optimizer.lr."
            ) from error

    def stop_at(self, place: Place | None) -> None:
        """Ends the training where a loss was no number; None is nowhere.

        Raises:
            UserError: there was one.
        """
        if place is None:
            return
        raise UserError(
            f"the loss of step {place.step} is NaN or infinite, so the training ends. That step is "
            f"of {self.datamodule.describe_batch(place.epoch, place.batch)}, with noise of seed "
            f"{self.seed}. {self.last_good()} Lower optimizer.lr, or look at those images."
        )

    def last_good(self) -> str:
        """What is kept of the steps before, in a sentence."""
        kept = checkpoints_in(getattr(self.trainer.checkpoint_callback, "dirpath", None))
        return f"The last good checkpoint is {kept[0]}." if kept else "No checkpoint was kept yet."

    def on_train_batch_end(self, outputs, batch: dict, index: int) -> None:
        # The checkpoint callback writes at its own intervals; the last step is kept too, while raw
        # and averaged weights are both there.
        callback = self.trainer.checkpoint_callback
        if not isinstance(callback, ModelCheckpoint) or callback.dirpath is None:
            return
        if self.global_step == self.trainer.max_steps:
            self.trainer.save_checkpoint(Path(callback.dirpath) / "last.ckpt")

    def on_validation_end(self) -> None:
        self.validated = self.global_step

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        self.stop_at(self.non_finite.first_wrong())
        for part in ("state_dict", "current_model_state"):
            if wrong := not_finite(checkpoint.get(part, {})):
                raise UserError(
                    f"the weights after step {self.global_step} are NaN or infinite, such as "
                    f"{wrong[0]}, so the training ends and they are not kept. {self.last_good()} "
                    "Lower optimizer.lr."
                )
        checkpoint["config"] = json.loads(json.dumps(self.model_config))
        checkpoint["settings"] = self.settings

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Refuses the checkpoint of another model, and one that is no numbers.

        Raises:
            UserError: the checkpoint is of another model; with other words or classes its rows
                would change their meaning. Or its weights are NaN or infinite.
        """
        if wrong := not_finite(checkpoint["state_dict"]):
            raise UserError(
                f"the checkpoint's weights are NaN or infinite, such as {wrong[0]}; resume from "
                "another."
            )
        own = self.model_config
        for key, theirs, ours in differences(checkpoint.get("config", own), own):
            raise UserError(
                f"the checkpoint's model has {key} = {shortened(theirs)}, this run's "
                f"{shortened(ours)}: resume with the data and the settings that it began with, or "
                "start anew with init=FILE."
            )

    def gather(self, z: Tensor) -> Tensor:
        """Every rank's embeddings, (ranks, N, D), with gradient."""
        if self.trainer.world_size == 1:
            return z[None]
        gathered = self.all_gather(z, sync_grads=True)
        assert isinstance(gathered, Tensor)  # as it was
        return gathered

    def finish(self, data: ImageData, device: torch.device) -> None:
        """What follows the last step, with the averaged weights in the model, before the export.

        The first process alone calls it.

        Arguments:
            data: of the training; not set up where a checkpoint had taken all steps.
            device: that it trained on.
        """

    def export(self, folder: str | Path, half: bool = False) -> Path:
        """Writes the model, in `half` precision or full, into a folder of its own.

        After training Lightning has left the averaged weights in it.
        """
        return save_folder(Path(folder) / self.kind, self.kind, self.model, half)
