"""What the training of a noise-aware encoder starts with, and the denoiser that it goes by."""

from typing import Any

import torch
from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, number
from sdg.models.autoencoder import Autoencoder
from sdg.models.clip import CLIP
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.noisy import NoisyEncoder
from sdg.models.towers import at_resolution
from sdg.models.unet import UNetEncoder

__all__ = ["denoiser_levels", "needed_denoiser", "objective_weights", "starting_encoder"]


def objective_weights(**weights: float) -> dict[str, float]:
    """{objective: its weight}.

    Raises:
        UserError: one is no weight, or all are 0.
    """
    for name, weight in weights.items():
        number(f"module.{name}_weight", weight, 0)
    if not any(weights.values()):
        raise UserError(
            "every objective has weight 0: set module.contrastive_weight, cosine_weight, "
            "posterior_weight or score_weight."
        )
    return weights


def starting_encoder(
    tower: str,
    clip: CLIP,
    denoiser: Denoiser | None,
    resolution: int,
    schedule: dict,
    width: int,
    hidden: int,
    calibrated: bool,
    estimate: bool,
    autoencoder: Autoencoder | None = None,
) -> NoisyEncoder:
    """The encoder that training starts with.

    Arguments:
        resolution: side of what it reads, images or latents.
        autoencoder: of the latents that it reads; None where it reads images.

    Raises:
        UserError: there is no denoiser to start from.
    """
    model, copied = at_resolution(clip.config["model"], clip.tower, resolution)
    config = clip.config | {"model": model}
    latents: dict[str, Any] = {}
    if autoencoder is not None:
        digest = autoencoder.latents_digest
        latents = {"latent_channels": autoencoder.channels, "autoencoder_digest": digest}
    if tower == "clip" and estimate:
        raise UserError(
            "module.estimate=true reads the denoiser's estimate with the denoiser's own half: set "
            "module.tower=denoiser."
        )
    if tower == "clip":
        return NoiseAwareEncoder(
            *(copied, config, schedule, width, hidden), calibrated=calibrated, **latents
        )
    if denoiser is None:
        raise UserError(
            "module.tower=denoiser starts from a denoiser: set module.denoiser=FILE, or "
            "module.tower=clip."
        )
    options = {"schedule": schedule, "hidden": hidden, "calibrated": calibrated}
    return UNetEncoder.from_denoiser(denoiser, config, estimate=estimate, **options, **latents)


def needed_denoiser(key: str, denoiser: Denoiser | None) -> Denoiser:
    """The denoiser, which the setting `key` needs.

    Raises:
        UserError: there is none.
    """
    if denoiser is None:
        raise UserError(f"{key} needs a denoiser: set module.denoiser=FILE, or {key}=0.")
    return denoiser


def denoiser_levels(denoiser: Denoiser, schedule: Schedule, resolution: int) -> Tensor:
    """The denoiser's level with the same ᾱ, for each of the encoder's T levels; integers, (T,).

    Raises:
        UserError: the denoiser is one of other images or levels.
    """
    if denoiser.resolution != resolution:
        raise UserError(
            f"module.denoiser draws {denoiser.resolution} pixels a side, but "
            f"data.resolution={resolution}; choose one of this resolution."
        )
    try:
        return denoiser.schedule.match(schedule.alpha_bar(torch.arange(schedule.T)).flatten())
    except UserError as error:
        theirs = denoiser.schedule
        raise UserError(
            f"module.denoiser was trained with another schedule ({theirs.kind}, T={theirs.T}) than "
            f"this encoder is to have; set schedule={theirs.kind}."
        ) from error
