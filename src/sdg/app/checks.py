"""Settings that are seen to be wrong before anything is imported, loaded or announced."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sdg.app.cost import check_cost, cost_note
from sdg.errors import UserError, choice, integer, number

__all__ = ["check_settings", "notes"]

HALF = ("16-true", "bf16-true")
GPU = ("gpu", "cuda")
FAR = 100  # times what suits the weights


def check_settings(program: str, config: DictConfig) -> None:
    """Refuses numbers out of range, and choices that there are not.

    Raises:
        UserError: there is one.
    """
    integer("seed", config.seed, 0, 2**32 - 1)
    choice("compile", config.compile, (True, False))
    if program == "sample":
        check_sampling(config)
    else:
        check_training(config)
    if str(config.trainer.get("accelerator")) in GPU:
        check_gpu()


def check_sampling(config: DictConfig) -> None:
    if "levels" in config.eval:  # measures an encoder, and draws nothing
        return
    for name, low in (("num_samples", 1), ("samples_per_prompt", 1)):
        if config[name] is not None:
            integer(name, config[name], low)
    for name, low in (("batch_size", 1), ("trajectory", 0), ("offset", 0)):
        integer(name, config[name], low)
    for name in ("deterministic", "rerun", "unguided"):
        choice(name, config[name], (True, False))
    choice("images", config.images, ("folder", "shards"))
    if not 0 < number("strength", config.strength) <= 1:
        raise UserError(f"strength must be above 0 and at most 1, not {config.strength!r}.")
    if config.init_image is None and is_set("strength"):
        raise UserError(
            "strength says how far from init_image; set init_image=FILE too, or leave it out."
        )
    for part in ("guidance", "sampler"):
        check_part(config, part)
    check_cost(config)
    if str(config.trainer.precision) in HALF:
        raise UserError(
            f"trainer.precision={config.trainer.precision} would take guidance's gradient in "
            "half precision; use bf16-mixed."
        )


def is_set(name: str) -> bool:
    """Whether the command line sets a key."""
    words = HydraConfig.get().overrides.task
    return any(word.lstrip("+").partition("=")[0] == name for word in words)


def check_part(config: DictConfig, part: str) -> None:
    """Checks γ or the number of steps, where the class is ours: one of the user's own decides."""
    options = config[part]
    if not isinstance(options, DictConfig) or not str(options.get("_target_")).startswith("sdg."):
        return
    if "gamma" in options:
        number("guidance.gamma", options.gamma)
    if "steps" in options:
        integer("sampler.steps", options.steps, 1)


def check_training(config: DictConfig) -> None:
    choice("resume", config.resume, (True, False))
    choice("half", config.half, (True, False))
    if integer("trainer.max_steps", config.trainer.max_steps, -1) == 0:
        raise UserError("trainer.max_steps=0 trains nothing; -1 trains for trainer.max_epochs.")
    if "lr" in config.optimizer:
        number("optimizer.lr", config.optimizer.lr, 0)


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


def notes(config: DictConfig) -> list[str]:
    """What is allowed and seldom meant, a line each."""
    gamma = config.guidance.get("gamma")
    cost = cost_note(config)
    if isinstance(gamma, bool) or not isinstance(gamma, (int, float)):
        return cost
    if gamma < 0:
        return [
            *cost,
            f"note: guidance.gamma={gamma:g} is negative, so it steers away from what is named.",
        ]
    usual = config.preset.gamma
    if gamma > FAR * usual:
        return [
            *cost,
            f"note: guidance.gamma={gamma:g} is far beyond {usual:g}, which suits these weights; "
            "such samples are seldom images.",
        ]
    return cost
