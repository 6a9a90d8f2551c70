"""`python train.py`: from a composed config to trained weights."""

import math
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from sdg.app.data import chosen_data
from sdg.app.denoiser import chosen_denoiser
from sdg.app.making import check_options
from sdg.app.next_command import sampling_command
from sdg.app.plain import plain
from sdg.app.records import command_of, record
from sdg.app.resuming import checkpoint, lasting_settings, steps_of
from sdg.app.run import make_trainer, run
from sdg.app.stopping import STOP
from sdg.data.captions import FACTORS
from sdg.data.datamodule import ImageData, loaded
from sdg.data.own_data import DatasetData, LoaderData
from sdg.data.shapes_data import ShapesData
from sdg.errors import UserError, choice, integer, number
from sdg.io.plain import differences
from sdg.io.shipped import program
from sdg.io.tensors import load_tensors
from sdg.io.weights import read
from sdg.models.build import build_denoiser, fill
from sdg.models.classifier import NoisyClassifier
from sdg.models.clip import CLIP, tokens
from sdg.models.judge import Judge
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.registry import chosen_clip, load_denoiser
from sdg.models.tokenizer import vocabulary
from sdg.models.towers import at_resolution
from sdg.report.card import processor, write_card
from sdg.training.module import TrainingModule

__all__ = ["train"]


def train(config: DictConfig) -> None:
    """Trains the module that the config names.

    The run's folder ends with checkpoints and the exported weights.
    """
    began_at = time.time()
    with run(config, lambda folder: kept(config, folder, began_at)) as folder:
        if integer("trainer.max_steps", config.trainer.max_steps, -1) == 0:
            raise UserError("trainer.max_steps=0 trains nothing; -1 trains for trainer.max_epochs.")
        settings = plain(config)
        lasting = lasting_settings(settings)
        resumed = checkpoint(config, lasting, folder)
        data = chosen_data(config)
        module = BUILDERS[config.kind](config, settings, data)
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


def training_parts(config: DictConfig) -> dict:
    for part in ("module", "optimizer", "lr_schedule"):
        check_options(config, part)
    if "lr" in config.optimizer:
        number("optimizer.lr", config.optimizer.lr, 0)
    return {
        "optimizer": instantiate(config.optimizer),
        "lr_schedule": instantiate(config.lr_schedule),
        "seed": config.seed,
    }


def ddpm(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    if "network" not in settings["denoiser"]:  # it has one already, to fine-tune
        if overrides := [
            word
            for word in HydraConfig.get().overrides.task
            if word.lstrip("+~").startswith(("schedule=", "schedule."))
        ]:
            raise UserError(
                f"{overrides[0]}: this denoiser brings the schedule that it was trained with; "
                "leave that out."
            )
        denoiser = chosen_denoiser(config).requires_grad_(True).train()
        if denoiser.resolution != data.resolution:
            raise UserError(
                f"data.resolution={data.resolution}, but this denoiser draws "
                f"{denoiser.resolution} pixels a side; set "
                f"data.resolution={denoiser.resolution}."
            )
    else:
        denoiser = build_denoiser(settings["denoiser"], settings["schedule"], data.resolution)
    return instantiate(config.module, denoiser=denoiser, **training_parts(config), _convert_="all")


def clip(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    if config.encoder.name is not None:  # one that somebody trained, to fine-tune
        return instantiate(
            config.module,
            clip=chosen_clip(config.encoder).requires_grad_(True).train(),
            **training_parts(config),
            _convert_="all",
        )
    tokenizer = choice("encoder.tokenizer", config.encoder.tokenizer, ("words", "bpe"))
    model = settings["encoder"]["model"]
    captions = [] if tokenizer == "bpe" or data.words else data.captions
    words = () if tokenizer == "bpe" else data.words or tuple(vocabulary(captions))
    if model["text_cfg"]["vocab_size"] is None:
        model["text_cfg"]["vocab_size"] = tokens(words)
    encoder = CLIP(model, words)
    encoder.tokenizer(captions)  # says now, not after an epoch, that one is too long
    return instantiate(config.module, clip=encoder, **training_parts(config), _convert_="all")


def clip_noisy(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    rank_zero_only(print)(f"the clean CLIP: {config.encoder.name or config.encoder.clip}")
    module = config.module
    banks = [module.bank] if isinstance(module.bank, str) else module.bank
    if (
        (module.posterior_weight or module.score_weight)
        and {"captions", "neighbours"} & set(banks)
        and not (config.data.get("captions") or isinstance(data, (DatasetData, LoaderData)))
    ):
        raise UserError(
            f"module.bank={','.join(banks)} takes the sentences from the data: set "
            "data.captions=true, or module.bank=templates or a file of sentences."
        )
    needed = module.score_weight or module.on_policy_share or module.tower == "denoiser"
    denoiser = load_denoiser(module.denoiser) if needed and module.denoiser else None
    return instantiate(
        config.module,
        clip=chosen_clip(config.encoder),
        resolution=data.resolution,
        schedule=settings["schedule"],
        freeze=settings["encoder"]["freeze"],
        denoiser=denoiser,
        checkpointing=config.encoder.checkpointing,
        **training_parts(config),
        _convert_="all",
    )


def judge(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    if not isinstance(data, ShapesData):
        raise UserError("the judge learns to read the shapes' factors: train it with data=shapes.")
    model = Judge(
        config.encoder.model_name,
        {name: len(values) for name, values in FACTORS.items()},
        resolution=data.resolution,
    )
    return instantiate(config.module, judge=model, **training_parts(config), _convert_="all")


def classifier_noisy(config: DictConfig, settings: dict, data: ImageData) -> TrainingModule:
    teacher = chosen_clip(config.encoder)
    data.setup("validate")
    classes = loaded(data.held_out).classes
    if not classes:
        raise UserError(
            "a classifier needs labels: use data=shapes, or data=folder with a sub-folder for each "
            "class and data.labels=folders."
        )
    resized, tower = at_resolution(teacher.config["model"], teacher.tower, data.resolution)
    clip_config = teacher.config | {"model": resized}
    schedule = settings["schedule"]
    factors = {factor: list(names) for factor, names in classes.items()}
    model = NoisyClassifier(clip_config, schedule, factors)
    model.encoder.tower.load_state_dict(
        NoiseAwareEncoder(tower, clip_config, schedule).tower.state_dict()
    )
    return instantiate(config.module, classifier=model, **training_parts(config), _convert_="all")


BUILDERS = {
    "denoiser": ddpm,
    "clip": clip,
    "clip_noisy": clip_noisy,
    "judge": judge,
    "classifier_noisy": classifier_noisy,
}
