"""What settings must hold between them, seen before anything heavy is imported."""

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from sdg.errors import UserError

__all__ = ["check_rules"]

GPU = ("gpu", "cuda")
OF_SAMPLES = (
    *("prompt", "negative_prompt"),
    *("guidance_scale", "guidance_interval", "negative_label"),
    *("autoguidance", "autoguidance_scale", "autoguidance_interval"),
)
CSV = "pytorch_lightning.loggers.CSVLogger"


def check_rules(program: str, config: Mapping[str, Any], words: Sequence[str]) -> None:
    """Refuses settings that do not go together.

    Arguments:
        config: plain, and each setting of it of the right kind.
        words: of the command line.

    Raises:
        UserError: some do not.
    """
    if program == "train":
        check_plain_denoiser(config["denoiser"], "a training")
        check_training(config)
    elif config["eval"].get("measures") == "encoder":
        check_plain_denoiser(config["denoiser"], "eval=encoder")
    else:
        check_sampling(config, words)
    if config["trainer"].get("accelerator") in GPU:
        check_gpu()


def check_plain_denoiser(denoiser: Mapping[str, Any], reader: str) -> None:
    """Refuses settings of how samples are drawn, where none are."""
    for name in OF_SAMPLES:
        if denoiser.get(name) is not None:
            raise UserError(
                f"denoiser.{name} has no effect on {reader}, which draws no samples; leave it out."
            )


def check_sampling(config: Mapping[str, Any], words: Sequence[str]) -> None:
    trainer = config["trainer"]
    if (config["logger"] or {}).get("_target_") == CSV:
        raise UserError(
            "logger=csv is for trainings: a sampling run writes metrics.csv itself; leave it out."
        )
    if config["prompt"] is not None and config["prompts"] is not None:
        raise UserError("give prompt= or prompts=, not both.")
    if not config["similarity"] and config["guidance"].get("gamma"):
        raise UserError("similarity=[] is empty; name at least one, such as similarity=[text].")
    given = {word.lstrip("+").partition("=")[0] for word in words}
    if config["init_image"] is None and "strength" in given:
        raise UserError(
            "strength says how far from init_image; set init_image=FILE too, or leave it out."
        )
    # In a sweep over γ one job may be that without guidance.
    if config["unguided"] is True and HydraConfig.get().mode != RunMode.MULTIRUN:
        check_unguided(config["guidance"])
    if trainer.get("inference_mode"):
        raise UserError(
            "trainer.inference_mode=true leaves no gradient, which guidance needs; leave it out."
        )
    for name in ("limit_test_batches", "limit_predict_batches"):
        value = trainer.get(name, 1.0)  # a share; 1 is one batch
        if value is not None and not (isinstance(value, float) and value == 1):
            raise UserError(
                f"trainer.{name}: a sampling run draws and measures all of its samples; lower "
                "num_samples instead."
            )
    size = 1 if config["deterministic"] else config["batch_size"]
    if size != "auto" and config["trajectory"] > size:
        why = "deterministic=true makes it one" if config["deterministic"] else f"{size}"
        raise UserError(
            f"trajectory={config['trajectory']} samples are followed within one batch, and "
            f"batch_size is less: {why}."
        )


def check_unguided(guidance: Mapping[str, Any]) -> None:
    if guidance.get("gamma") == 0:
        raise UserError(
            "unguided=true shows the same seeds without guidance beside guided samples, and "
            "guidance.gamma=0 guides none; leave one of them out."
        )
    if "gamma" not in guidance:
        raise UserError(
            "unguided=true needs guidance.gamma, which it sets to 0, and this guidance has none "
            "in its config; +guidance.gamma=… adds it, or leave unguided=true out."
        )


def check_training(config: Mapping[str, Any]) -> None:
    check_length(config)
    if config.get("resume") and config.get("ckpt_path") is not None:
        raise UserError("give resume=true or ckpt_path=FILE, not both.")
    network = config["denoiser"].get("network")
    if network:
        check_network(network)
    text = config["encoder"].get("model", {}).get("text_cfg", {})
    if text.get("width", 0) % text.get("heads", 1):
        raise UserError(
            f"encoder.model.text_cfg.heads={text['heads']} must divide its width={text['width']}."
        )
    module, T = config["module"], config["schedule"].get("T")
    levels = module.get("levels", []) if module["_target_"].startswith("sdg.") else []
    if T and levels and max(levels) >= T:
        raise UserError(f"module.levels must be below schedule.T={T}, not {max(levels)}.")


def check_length(config: Mapping[str, Any]) -> None:
    """Refuses a run without an end whose learning rate falls until then, before data are made."""
    trainer, cosine = config["trainer"], "sdg.training.module.warmup_cosine"
    endless = trainer.get("max_steps", -1) == -1 and trainer.get("max_epochs") in (None, -1)
    if endless and config["lr_schedule"].get("_target_") == cosine:
        raise UserError(
            "the learning rate falls over the run's length: set trainer.max_steps or "
            "trainer.max_epochs."
        )


def check_network(network: Mapping[str, Any]) -> None:
    """Checks the shape of a new U-Net, which diffusers would only trip over."""
    place = "denoiser.network"
    widths = network.get("block_out_channels", [])
    for name in ("down_block_types", "up_block_types"):
        if len(network.get(name, widths)) != len(widths):
            raise UserError(
                f"{place}.{name} has {len(network[name])} entries, and {place}.block_out_channels "
                f"{len(widths)}; each block has one of both."
            )
    groups, head = network.get("norm_num_groups", 32), network.get("attention_head_dim")
    for width in widths:
        if width % groups:
            raise UserError(
                f"{place}.norm_num_groups={groups} must divide each of {place}.block_out_channels, "
                f"and does not divide {width}."
            )
    attend = ["Attn" in name for name in network.get("down_block_types", [])]
    widest_head = min([*compress(widths, attend), *widths[-1:]], default=None)
    if head and widest_head and head > widest_head:
        raise UserError(
            f"{place}.attention_head_dim={head} must be at most {widest_head}, the channels of a "
            "block that has attention."
        )


def check_gpu() -> None:
    """Refuses a GPU that torch does not find.

    Raises:
        UserError: there is none.
    """
    import torch

    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise UserError(
            "this trainer wants a GPU and torch finds none; on a machine without a GPU, "
            "trainer=auto takes the CPU."
        )
