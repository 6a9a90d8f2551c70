"""Weights & Biases without a prompt, and a run of its own for every job."""

import sys

from pytorch_lightning.loggers import WandbLogger

__all__ = ["end_wandb_run", "wandb_logger"]


def wandb_logger(project: str, name: str, save_dir: str) -> WandbLogger:
    """A W&B logger.

    It is online when this machine is logged in, else offline, for `wandb sync` to upload later.
    """
    import wandb

    return WandbLogger(
        project=project,
        name=name,
        save_dir=save_dir,
        mode="online" if wandb.login(prompt=False) else "offline",
        settings=wandb.Settings(quiet=True),  # its summary would bury the run's own last lines
    )


def end_wandb_run() -> None:
    """Ends the job's W&B run, as failed if it did.

    The next job of a sweep, in the same process, would go on in it.
    """
    wandb = sys.modules.get("wandb")  # large: imported by runs that log to it
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=int(sys.exc_info()[0] is not None))
