"""`python train.py`: from a composed config to trained weights."""

import math
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sdg.app.builders import build
from sdg.app.data import chosen_data
from sdg.app.next_command import sampling_command
from sdg.app.plain import plain
from sdg.app.records import command_of, record
from sdg.app.resuming import checkpoint, lasting_settings, steps_of
from sdg.app.run import make_trainer, run
from sdg.app.stopping import STOP
from sdg.io.plain import differences
from sdg.io.shipped import program
from sdg.io.tensors import load_tensors
from sdg.io.weights import read
from sdg.models.build import fill
from sdg.report.card import processor, write_card
from sdg.training.checkpoints import remove_superseded

__all__ = ["train"]


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
        trainer = make_trainer(config, on_train_start=lambda: record(config, folder))
        module.settings = lasting
        if config.init:
            start_from(module.model, config.init, config.kind)
        if config.compile:
            module.model.compile()
        if trainer.logger:
            trainer.logger.log_hyperparams(settings)
        began, trained = time.monotonic(), False
        if resumed and 0 < config.trainer.max_steps <= steps_of(resumed):
            # It was killed before it gave its weights. Lightning keeps the averaged ones where the
            # model's are.
            trained = True
            record(config, folder)
            module.load_state_dict(load_tensors(resumed)["state_dict"])
        else:
            trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
        remove_superseded(trainer)
        if trainer.is_global_zero:  # before anything else can fail
            weights = module.export(folder, half=config.half)
        STOP.release()
        seconds = None if trained else time.monotonic() - began
        if (
            module.validated < trainer.global_step
        ):  # the card's figures are those of the weights beside it
            trainer.validate(module, data, verbose=False)
        data.print_skipped()
        if trainer.is_global_zero:
            command = " ".join([program("train"), *HydraConfig.get().overrides.task])
            figures = {
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith("val/")
            }
            for name in [name for name, value in figures.items() if not math.isfinite(value)]:
                print(f"{name} is {figures.pop(name)}, no finite number; the card leaves it out.")
            write_card(
                weights, config.kind, module.model, command, hardware(trainer), seconds, figures
            )
            print(f"weights: {weights}")
            if config.kind == "denoiser":
                print(f"sample it: {sampling_command(config, weights)}")


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
    config, tensors = read(file, kind)
    for key, theirs, ours in differences(config, model.config):
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
