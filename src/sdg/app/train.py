"""`python train.py`: from a composed config to trained weights."""

import math
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sdg.app.builders import build
from sdg.app.compiling import compile_mode
from sdg.app.data import chosen_data
from sdg.app.lasting import lasting_settings
from sdg.app.next_command import next_step
from sdg.app.plain import plain
from sdg.app.records import command_of, write_records
from sdg.app.resuming import checkpoint, steps_of
from sdg.app.run import make_trainer, run
from sdg.app.stopping import STOP
from sdg.data.datamodule import ImageData
from sdg.io.plain import differences
from sdg.io.shipped import program
from sdg.io.tensors import load_tensors
from sdg.io.weights import read_weights
from sdg.models.build import fill
from sdg.models.registry import read_autoencoder
from sdg.report.card import processor, write_card
from sdg.training.checkpoints import remove_superseded
from sdg.training.module import TrainingModule

__all__ = ["train"]

# Of an autoencoder: what it begins with has no effect, as it measures its own at the end.
MEASURED = ("options.scaling_factor", "options.shift_factor")


def train(config: DictConfig) -> None:
    """Trains the module that the config names.

    The run's folder ends with checkpoints and the exported weights.
    """
    began_at = time.time()
    with run(config, lambda folder: kept(config, folder, began_at)) as folder:
        settings = plain(config)
        lasting = lasting_settings(settings)
        resumed = checkpoint(config, lasting, folder)
        data = chosen_data(config)
        module = build(config, settings, data)
        trainer = make_trainer(config, on_train_start=lambda: write_records(config, folder))
        module.settings = lasting
        if config.init:
            start_from(module.model, config.init, config.kind)
        if config.compile:
            module.model.compile(mode=compile_mode(config.compile))
        if trainer.logger:
            trainer.logger.log_hyperparams(settings)
        seconds = fit(config, trainer, module, data, resumed, folder)
        remove_superseded(trainer)
        if trainer.is_global_zero:  # before anything else can fail
            module.finish(data, trainer.strategy.root_device)
            weights = module.export(folder, half=config.half)
        STOP.release()
        # The card's figures are those of the weights beside it.
        if module.validated < trainer.global_step:
            trainer.validate(module, data, verbose=False)
        data.print_skipped()
        if trainer.is_global_zero:
            describe(config, trainer, module, weights, seconds)


def fit(
    config: DictConfig,
    trainer: pl.Trainer,
    module: TrainingModule,
    data: ImageData,
    resumed: str | None,
    folder: Path,
) -> float | None:
    """Trains the module; how many seconds that took, None where its checkpoint had taken all steps.

    Such a run was killed before it gave its weights.

    Arguments:
        resumed: the checkpoint that it goes on from.
        folder: of the run.
    """
    if resumed and 0 < config.trainer.max_steps <= steps_of(resumed):
        write_records(config, folder)
        # Lightning keeps the averaged weights where the model's are.
        module.load_state_dict(load_tensors(resumed)["state_dict"])
        return None
    began = time.monotonic()
    trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    return time.monotonic() - began


def describe(
    config: DictConfig,
    trainer: pl.Trainer,
    module: TrainingModule,
    weights: Path,
    seconds: float | None,
) -> None:
    """Writes the card of the exported weights, and says where they are and what to do next.

    Arguments:
        seconds: of the training; None where they are not known.
    """
    command = " ".join([program("train"), *HydraConfig.get().overrides.task])
    figures = finite_figures(trainer)
    write_card(weights, config.kind, module.model, command, hardware(trainer), seconds, figures)
    print(f"weights: {weights}")
    if line := next_step(config, weights):
        print(line)


def finite_figures(trainer: pl.Trainer) -> dict[str, float]:
    """{name: figure} of the validation; says which are left out, as they are no finite numbers."""
    figures = {}
    for name, value in trainer.callback_metrics.items():
        if not name.startswith("val/"):
            continue
        if math.isfinite(value):
            figures[name] = float(value)
        else:
            print(f"{name} is {float(value)}, no finite number; the card leaves it out.")
    return figures


def kept(config: DictConfig, folder: Path, since: float) -> str:
    """What a stopped training leaves, and how it goes on.

    Arguments:
        config: it may put the checkpoints elsewhere.
        folder: of the run.
        since: when it began, in seconds; an older checkpoint is not its own.
    """
    usual = folder / "checkpoints"
    last = Path((config.callbacks.get("checkpoint") or {}).get("dirpath") or usual) / "last.ckpt"
    if not last.is_file() or last.stat().st_mtime < since:
        return "it had kept no step yet; the same command begins again."
    goes_on = "resume=true" if last.parent == usual else f"ckpt_path={last}"
    command = command_of(HydraConfig.get(), goes_on)
    return f"step {steps_of(last)} is kept in {last}. To go on: {command}"


def start_from(model, file: str, kind: str) -> None:
    """Fills the model with a file's weights, and says where the file's config is another."""
    config, tensors = read_autoencoder(file) if kind == "autoencoder" else read_weights(file, kind)
    for key, theirs, ours in differences(config, model.config):
        if key in MEASURED:
            continue
        print(f"init: {file} was trained with {key}={theirs}, this run has {ours}")
    if model.config.get("calibrated") and not config.get(
        "calibrated"
    ):  # such weights know no length: it starts as the teacher's c
        own = model.state_dict()
        tensors |= {
            name: own[name] for name in own if name.startswith("length.") or name == "logit_scale"
        }
    fill(model, tensors, file)


def hardware(trainer: pl.Trainer) -> str:
    """The devices of a run in words."""
    gpus = isinstance(trainer.accelerator, pl.accelerators.CUDAAccelerator)
    return f"{trainer.world_size} × {torch.cuda.get_device_name()}" if gpus else processor()
