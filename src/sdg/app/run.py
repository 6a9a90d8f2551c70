"""What a training and a sampling run share.

That is how they start, which trainer runs them, and how they end.
"""

import json
import logging
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, read_write
from pytorch_lightning.utilities import rank_zero_only

from sdg.app.loggers import end_wandb_run
from sdg.app.making import check_options
from sdg.app.opening import shell_command
from sdg.errors import UserError, integer
from sdg.io.hub import Absent
from sdg.io.shipped import CHECKOUT, CONF
from sdg.report.pages import COMMAND

__all__ = ["first_process", "make_trainer", "run"]

RECORDED = (
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "timm",
    "open_clip_torch",
    "diffusers",
    "torchmetrics",
    "safetensors",
    "numpy",
)
LEFT_AT_START = {".hydra", "config.yaml", "versions.json", COMMAND}
LAUNCHER = (
    "MASTER_ADDR",
    "MASTER_PORT",
    "WORLD_SIZE",
    "NODE_RANK",
    "LOCAL_RANK",
)  # which Lightning sets for its processes


@contextmanager
def run(config: DictConfig) -> Iterator[Path]:
    """Seeds everything, and leaves the resolved config and the versions in the run's folder.

    It says at the end where the results are.
    """
    quieten()
    torch.set_float32_matmul_precision("high")
    pl.seed_everything(integer("seed", config.seed, 0, 2**32 - 1), workers=True, verbose=False)
    folder = Path(HydraConfig.get().runtime.output_dir)
    first = first_process()
    begun = (folder / "config.yaml").exists()  # by the same command, which may be at work
    records = [folder / name for name in ("config.yaml", "versions.json", COMMAND)]
    earlier = {file: file.read_text() for file in records if file.exists()}
    if first:
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
        (folder / COMMAND).write_text(command_of(HydraConfig.get()) + "\n")
        versions = {name: version(name) for name in RECORDED} | {
            "python": platform.python_version()
        }
        (folder / "versions.json").write_text(
            json.dumps({"seed": config.seed, "versions": versions}, indent=2) + "\n"
        )
    given = {key for key in LAUNCHER if key in os.environ}
    with single_job_command(folder):
        try:
            yield folder
        except Exception as error:
            if not begun:
                remove_empty_run(folder)
            elif first and isinstance(error, UserError):  # the folder keeps what made it
                for file, text in earlier.items():
                    file.write_text(text)
            if isinstance(error, Absent) and (experiment := external_experiment()):
                conf = CONF if CHECKOUT is None else CONF.name
                raise UserError(
                    f"{error} {conf}/experiment/{experiment}.yaml says what it needs and where "
                    "that is found."
                ) from error
            raise
        finally:
            end_wandb_run()
            leave_process_group()
            for key in set(LAUNCHER) - given:  # the next job of a sweep launches its own processes
                os.environ.pop(key, None)
    if first:
        print(f"results: {folder}", flush=True)


def command_of(hydra) -> str:
    """The command that draws or trains what one job does, outside its sweep too."""
    own = [] if hydra.mode == RunMode.MULTIRUN else hydra.overrides.hydra
    return shell_command(hydra.job.config_name, [*hydra.overrides.task, *own])


def first_process() -> bool:
    """Whether this is the one process that writes and prints."""
    return getattr(rank_zero_only, "rank", 0) == 0


def remove_empty_run(folder: Path) -> None:
    """Removes what a run that was refused at its start has left.

    A folder that the user named stays.
    """
    named = any(word.startswith("hydra.run.dir=") for word in HydraConfig.get().overrides.hydra)
    if (
        first_process()
        and not named
        and folder.is_dir()
        and {file.name for file in folder.iterdir()} <= LEFT_AT_START
    ):
        shutil.rmtree(folder)


def external_experiment() -> str | None:
    """The chosen experiment, if it needs files that are not shipped."""
    chosen = HydraConfig.get().runtime.choices.get("experiment")
    return chosen if chosen and str(chosen).startswith("paper_") else None


def make_trainer(config: DictConfig, **options) -> pl.Trainer:
    """The trainer with these options and the config's logger and callbacks.

    A callback that writes to the logger is left out where there is none.
    """
    check_options(config, "trainer")
    logger = instantiate(config.logger) or False
    callbacks = [
        callback for callback in instantiate(config.callbacks).values() if callback is not None
    ]
    if not logger:
        callbacks = [
            callback
            for callback in callbacks
            if not isinstance(callback, pl.callbacks.LearningRateMonitor)
        ]
    try:
        trainer = instantiate(config.trainer, logger=logger, callbacks=callbacks, **options)
    except InstantiationException as error:
        if "supported gpu backend" in str(error):
            raise UserError(
                "this trainer wants a GPU and torch finds none; on a machine without a GPU, "
                "trainer=auto takes the CPU."
            ) from error
        raise
    if isinstance(
        trainer.accelerator, pl.accelerators.CPUAccelerator
    ) and trainer.num_devices > max(2, os.cpu_count() or 1):
        raise UserError(
            f"trainer.devices={config.trainer.devices} are as many processes, and this machine has "
            f"{os.cpu_count()} cores; lower it."
        )
    return trainer


@contextmanager
def single_job_command(folder: Path) -> Iterator[None]:
    """In a sweep, gives Lightning's launcher the command of this one job.

    The launcher repeats sys.argv, whose -m would start the sweep again.
    """
    hydra, argv = HydraConfig.get(), sys.argv
    if hydra.mode == RunMode.MULTIRUN:
        sys.argv = [argv[0], *hydra.overrides.task]
        job: Any = HydraConfig.instance().cfg
        with read_write(job.hydra):
            job.hydra.run.dir = str(folder)
    try:
        yield
    finally:
        sys.argv = argv


def leave_process_group() -> None:
    """Ends the distributed part of a job: what follows runs on one process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def quieten() -> None:
    """Silences what libraries say about themselves on every run and no user can act on."""
    for message in (
        ".*does not have many workers.*",
        ".*treespec, LeafSpec.*",
        ".*Experiment logs directory.*",
        ".*smaller than the logging interval.*",
        ".*find_unused_parameters.*",
        r".*module\(s\) in eval mode.*",
        ".*dirpath has changed.*",
        ".*Using `DistributedSampler` with the dataloaders.*",
        ".*`IterableDataset` has `__len__` defined.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in (
        "huggingface_hub",
        "datasets",
    ):  # of each retry; what came of it, our own line says
        logging.getLogger(name).setLevel(logging.ERROR)
