"""`python train.py`: from a composed config to trained weights."""

import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sdg.checkpoints.models import build_denoiser, fill, load_clip
from sdg.checkpoints.weights import read
from sdg.data.shapes import FACTORS, WORDS
from sdg.encoders.classifier import NoisyClassifier
from sdg.encoders.clip import CLIP
from sdg.encoders.noise_aware import NoiseAwareEncoder
from sdg.errors import UserError
from sdg.lightning.run import make_trainer, run
from sdg.metrics.judge import Judge
from sdg.report.card import processor, write_card

__all__ = ["train"]


def train(config: DictConfig) -> None:
    """Trains the module that the config names; the run's folder ends with checkpoints and the exported weights."""
    with run(config) as folder:
        module = BUILDERS[config.name](config, OmegaConf.to_container(config, resolve=True))
        if config.init:
            fill(module.model, read(config.init, config.name)[1], config.init)
        data, trainer = instantiate(config.data), make_trainer(config)
        if config.compile:
            module.model.compile()
        began = time.monotonic()
        trainer.fit(module, data, ckpt_path=checkpoint(config, folder), weights_only=True)
        if trainer.is_global_zero:
            print(f"weights: {module.export(folder, half=config.half)}")
            command = " ".join(["python train.py", *HydraConfig.get().overrides.task])
            parameters = sum(p.numel() for p in module.model.parameters())
            write_card(folder, config.name, command, time.monotonic() - began, parameters, hardware(trainer))


def hardware(trainer: pl.Trainer) -> str:
    """The devices of a run in words."""
    gpus = isinstance(trainer.accelerator, pl.accelerators.CUDAAccelerator)
    return f"{trainer.world_size} × {torch.cuda.get_device_name()}" if gpus else processor()


def checkpoint(config: DictConfig, folder: Path) -> str | None:
    """The checkpoint to continue from: `ckpt_path`, with `resume` the newest of this kind, or none."""
    if config.ckpt_path:
        if not Path(config.ckpt_path).is_file():
            raise UserError(f"ckpt_path: there is no file {config.ckpt_path}.")
        return str(config.ckpt_path)
    if not config.resume:
        return None
    found = sorted(folder.parent.glob("*/checkpoints/last.ckpt"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise UserError(f"resume=true: no checkpoint under {folder.parent}; start without it, or set ckpt_path=FILE.")
    print(f"resuming from {found[-1]}")
    return str(found[-1])


def training_parts(config: DictConfig) -> dict:
    return {"optimizer": instantiate(config.optimizer), "lr_schedule": instantiate(config.lr_schedule)}


def ddpm(config: DictConfig, plain: dict) -> pl.LightningModule:
    denoiser = build_denoiser(plain["denoiser"], plain["schedule"], config.data.resolution)
    return instantiate(config.module, denoiser=denoiser, **training_parts(config), _convert_="all")


def clip(config: DictConfig, plain: dict) -> pl.LightningModule:
    encoder = CLIP(plain["encoder"]["model"], WORDS if config.encoder.tokenizer == "words" else ())
    return instantiate(config.module, clip=encoder, **training_parts(config), _convert_="all")


def clip_noisy(config: DictConfig, plain: dict) -> pl.LightningModule:
    return instantiate(config.module, clip=load_clip(config.encoder.clip), schedule=plain["schedule"], **training_parts(config), _convert_="all")


def judge(config: DictConfig, plain: dict) -> pl.LightningModule:
    if HydraConfig.get().runtime.choices.data != "shapes":
        raise UserError("the judge learns to read the shapes' factors: train it with data=shapes.")
    model = Judge(config.encoder.model_name, {name: len(values) for name, values in FACTORS.items()})
    return instantiate(config.module, judge=model, **training_parts(config), _convert_="all")


def classifier_noisy(config: DictConfig, plain: dict) -> pl.LightningModule:
    teacher, data = load_clip(config.encoder.clip), instantiate(config.data)
    data.setup("validate")
    if not getattr(data.held_out, "classes", None):
        raise UserError("a classifier needs labels: use data=shapes, or data=folder with a sub-folder for each class and data.labels=true.")
    model = NoisyClassifier(teacher.config, plain["schedule"], {factor: list(names) for factor, names in data.held_out.classes.items()})
    model.encoder.tower.load_state_dict(NoiseAwareEncoder(teacher.tower, teacher.config, plain["schedule"]).tower.state_dict())
    return instantiate(config.module, classifier=model, **training_parts(config), _convert_="all")


BUILDERS = {"denoiser": ddpm, "clip": clip, "clip_noisy": clip_noisy, "judge": judge, "classifier_noisy": classifier_noisy}
