"""What a training and a sampling run share.

That is how they start, which trainer runs them, and how they end.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning_fabric.plugins import TorchCheckpointIO
from omegaconf import DictConfig, read_write

from sdg.app.absent import where_to_find
from sdg.app.child_process import PARENT
from sdg.app.claim import CLAIM
from sdg.app.empty_run import remove_empty_run
from sdg.app.loggers import end_wandb_run
from sdg.app.making import check_options
from sdg.app.precision import chosen_precision
from sdg.app.processes import ChildProcesses
from sdg.app.records import RECORDS
from sdg.app.run_folder import first_process, own_folder
from sdg.app.stop_points import StopPoints, end_by_signal_only_here
from sdg.app.stopping import STOP, Stopped
from sdg.errors import UserError, integer
from sdg.io.hub import Absent
from sdg.pipeline.deterministic import WORKSPACE
from sdg.training.checkpoints import WholeCheckpoints

__all__ = ["first_process", "make_trainer", "run"]

LEFT_AT_START = (CLAIM, *RECORDS)
LAUNCHER = (
    "MASTER_ADDR",
    "MASTER_PORT",
    "WORLD_SIZE",
    "NODE_RANK",
    "LOCAL_RANK",
    PARENT,
)  # which are set for the processes that Lightning launches
children = ChildProcesses()  # by the run that is at work


@contextmanager
def run(config: DictConfig, kept: Callable[[Path], str]) -> Iterator[Path]:
    """Seeds everything, and gives the run's folder, which no other run has meanwhile.

    It says at the end where the results are.

    Arguments:
        kept: says of a folder what is kept there and how it goes on, if a signal ends the run.
    """
    STOP.release()
    quieten()
    torch.set_float32_matmul_precision("high")
    pl.seed_everything(integer("seed", config.seed, 0, 2**32 - 1), workers=True, verbose=False)
    given = {key for key in LAUNCHER if key in os.environ}
    with own_folder("kind" in config) as folder, single_job_command(folder), restored_flags():
        begun = (folder / "config.yaml").exists()  # by the same command
        stopped = False
        try:
            yield folder
        except Stopped:
            stopped = True
            STOP.report = kept(folder) + no_further_job()
            if not begun and first_process():
                remove_empty_run(LEFT_AT_START)
            raise
        except Exception as error:
            if STOP.asked is not None:  # other processes have ended, which this one needs
                STOP.report = kept(folder) + no_further_job()
                raise Stopped(STOP.asked) from None
            children.await_turn(known=isinstance(error, UserError))
            if not begun and first_process():
                remove_empty_run(LEFT_AT_START)
            if isinstance(error, Absent):
                raise where_to_find(error) from error
            raise
        finally:
            finish = not sys.exc_info()[0] or stopped and STOP.between
            try:
                children.end(finish)
            except Stopped:  # while this process waited for the others
                STOP.report = kept(folder) + no_further_job()
                raise
            finally:
                end_wandb_run()
                leave_process_group()
                for key in set(LAUNCHER) - given:  # the next job of a sweep launches its own
                    os.environ.pop(key, None)
    if first_process():
        print(f"results: {folder}", flush=True)


@contextmanager
def restored_flags() -> Iterator[None]:
    """Puts back what `trainer.deterministic` and `trainer.benchmark` set for the whole process.

    The next job of a sweep may have others.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    workspace = os.environ.get(WORKSPACE)
    try:
        yield
    finally:
        if torch.are_deterministic_algorithms_enabled() != deterministic:  # this imports a compiler
            torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(WORKSPACE, None)


def no_further_job() -> str:
    """What a sweep adds to the line of its job that a signal has ended."""
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN and not STOP.job
    return " Of the sweep no further job is started." if sweep else ""


def make_trainer(
    config: DictConfig, on_train_start: Callable[[], None] = lambda: None, **options
) -> pl.Trainer:
    """The trainer with these options and the config's logger and callbacks.

    A callback that writes to the logger is left out where there is none.

    Arguments:
        on_train_start: called when all is set up and the first step begins.
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
    begin = pl.callbacks.LambdaCallback(on_train_start=lambda *_: on_train_start())
    # Bars come last: where nobody reads what they print, the checkpoint is written already.
    callbacks = sorted([*callbacks, begin, StopPoints()], key=is_bar)
    options |= {"precision": chosen_precision(config.trainer)}
    trainer = instantiate(config.trainer, logger=logger, callbacks=callbacks, **options)
    if isinstance(
        trainer.accelerator, pl.accelerators.CPUAccelerator
    ) and trainer.num_devices > max(2, os.cpu_count() or 1):
        raise UserError(
            f"trainer.devices={config.trainer.devices} are as many processes, and this machine has "
            f"{os.cpu_count()} cores; lower it."
        )
    end_by_signal_only_here(trainer)
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # none of the user's own
        trainer.strategy.checkpoint_io = WholeCheckpoints()
    global children
    children = ChildProcesses(trainer.strategy.launcher)
    return trainer


def is_bar(callback: pl.Callback) -> bool:
    return isinstance(callback, pl.callbacks.ProgressBar)


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
        ".*Kernel Inception Distance.* will save all extracted features.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in (
        "huggingface_hub",
        "datasets",
    ):  # of each retry; what came of it, our own line says
        logging.getLogger(name).setLevel(logging.ERROR)
