"""Weights & Biases without a prompt."""

import wandb
from pytorch_lightning.loggers import WandbLogger

__all__ = ["wandb_logger"]


def wandb_logger(project: str, name: str, save_dir: str) -> WandbLogger:
    """A W&B logger: online when this machine is logged in, else offline, for `wandb sync` to upload later."""
    return WandbLogger(project=project, name=name, save_dir=save_dir, mode="online" if wandb.login(prompt=False) else "offline")
