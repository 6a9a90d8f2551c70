"""The settings that a training keeps from its first step to its last."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sdg.app.latents import LATENT_SIGMA_DATA
from sdg.app.no_effect import PARTS
from sdg.diffusion.parametrisation import SIGMA_DATA
from sdg.io.plain import differences, flat

__all__ = ["changed_settings", "lasting_settings"]

# What a trained model follows from. Steps, devices, precision and loggers are none of it.
LASTING = (
    "callbacks.ema",
    "data",
    "denoiser",
    "encoder",
    "kind",
    "lr_schedule",
    "module",
    "optimizer",
    "schedule",
    "seed",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_algorithm",
    "trainer.gradient_clip_val",
)
# And of these, what changes no step but for rounding.
FREE = (
    "data.cache",
    "data.download",
    "data.max_broken",
    "data.num_workers",
    "encoder.checkpointing",
    "lr_schedule.seconds",
    "module.preview",
    "optimizer.foreach",
    "optimizer.fused",
)


def lasting_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """{dotted key: value} of the settings that stay the same when a run is continued.

    Arguments:
        config: resolved and plain, before a model is built from it.
    """
    return kept(flat(json.loads(json.dumps(config))), config.get("reads"))


def kept(settings: Mapping[str, Any], reads: Sequence[str] | None) -> dict[str, Any]:
    """Those of flat settings that last.

    Arguments:
        reads: of denoiser, encoder and schedule; None for all of them.
    """
    return {
        key: value
        for key, value in settings.items()
        if in_groups(key, LASTING) and key not in FREE and is_read(key, reads)
    }


def is_read(key: str, reads: Sequence[str] | None) -> bool:
    """Whether a training that reads these parts reads a setting."""
    return reads is None or key.partition(".")[0] not in PARTS or in_groups(key, reads)


def in_groups(key: str, groups: Sequence[str]) -> bool:
    """Whether a dotted key is one of these groups, or stands in one."""
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def changed_settings(
    then: Mapping[str, Any], now: Mapping[str, Any], reads: Sequence[str] | None
) -> list[tuple[str, Any, Any]]:
    """(key, value then, value now) of the settings in which a run would go on with another model.

    Arguments:
        then: `lasting_settings` of the run that is continued; an older one may hold more of them.
        now: `lasting_settings` of this run.
        reads: as of `kept`.
    """
    then, now = kept(then, reads), kept(now, reads)
    return [
        (key, before, after)
        for key, before, after in differences(then, now)
        if in_full(key, then) != in_full(key, now)
    ]


def in_full(key: str, settings: Mapping[str, Any]) -> Any:
    """The value of a setting; of one that is null or not there, what that means."""
    value = settings.get(key)
    if value is not None:
        return value
    latents = settings.get("denoiser.autoencoder") is not None
    if key == "denoiser.clip":
        return not latents
    if key == "denoiser.sigma_data" and settings.get("denoiser.prediction") == "edm":
        return LATENT_SIGMA_DATA if latents else SIGMA_DATA
    return "norm" if key == "trainer.gradient_clip_algorithm" else None
