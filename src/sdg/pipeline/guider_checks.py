"""What a guider of diffusers' pipelines asks of its scheduler, its guidance and its encoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdg.errors import UserError
from sdg.guidance.guidance import Guidance
from sdg.guidance.semantic import SemanticGuidance
from sdg.models.autoencoder import Autoencoder
from sdg.models.encoder import ImageEncoder

__all__ = [
    "check_latents_read",
    "check_noise_aware",
    "check_read",
    "scheduler_config",
    "score_guidance",
    "seen_sample",
]


def scheduler_config(scheduler: Any) -> tuple[dict[str, Any], Path]:
    """What `process_of` takes, of a scheduler of diffusers.

    Raises:
        UserError: it is none.
    """
    name = type(scheduler).__name__
    if not isinstance(getattr(scheduler, "config", None), Mapping):
        raise UserError(f"scheduler must be one of diffusers, such as pipe.scheduler, not {name}.")
    return {**scheduler.config, "_class_name": name}, Path(name)


def score_guidance(guidance: Guidance) -> SemanticGuidance:
    """The guidance, if a guider can follow it: one gradient at x_t in each step.

    Raises:
        UserError: it needs the network, the sampler or several calls.
    """
    if type(guidance) is not SemanticGuidance:
        raise UserError(
            f"guidance {type(guidance).__name__} calls the network itself, which diffusers hands "
            "to no guider; give a SemanticGuidance, or sample by sdg.Pipeline."
        )
    if guidance.gradient_at not in (None, "x_t"):
        raise UserError(
            f"gradient_at={guidance.gradient_at} needs the mean or the gradient of the network, "
            "which diffusers hands to no guider; leave it out."
        )
    if guidance.recurrence != 1 or guidance.candidates != 1 or guidance.clip_first:
        raise UserError(
            "recurrence, candidates and clip_first change the sampler's steps, which no guider of "
            "diffusers can; leave them out."
        )
    return guidance


def check_noise_aware(encoder: ImageEncoder) -> None:
    """Raises a `UserError` for an encoder that cannot read x_t alone."""
    if encoder.schedule is None:
        raise UserError(
            "SemanticGuider reads noisy samples, and this encoder clean images; give a noise-aware "
            "one."
        )
    if encoder.reads_estimate:
        raise UserError(
            "this encoder reads the denoiser's estimate too, which diffusers hands to no guider; "
            "give one that was trained without module.estimate."
        )


def check_latents_read(encoder: ImageEncoder | None, autoencoder: Autoencoder | None) -> None:
    """Raises a `UserError` for an encoder that has learned the latents of another autoencoder."""
    learned = None if encoder is None else encoder.autoencoder_digest
    own = None if autoencoder is None or learned is None else autoencoder.latents_digest
    if own is not None and learned != own:
        raise UserError(
            "the encoder has learned the latents of another autoencoder than this one; give an "
            "encoder of this pipeline's latents."
        )


def check_read(encoder: ImageEncoder, x: Tensor) -> None:
    """Raises a `UserError` where an encoder does not read such samples."""
    weight = next((each for each in encoder.tower.parameters()), x)
    if weight.device != x.device:
        raise UserError(
            f"the encoder is on {weight.device}, and this pipeline's samples on {x.device}; "
            f'encoder.to("{x.device}") moves it, and the CLIP alike.'
        )
    channels = encoder.latent_channels or 3
    if x.shape[1] != channels:
        what = "latents" if encoder.latent_channels else "images"
        raise UserError(
            f"the encoder reads {what} of {channels} channels, and this pipeline's network is "
            f"called with {x.shape[1]}; give an encoder of its samples."
        )
    if encoder.resolution not in (None, x.shape[-1]) and not encoder.any_size:
        raise UserError(
            f"the encoder takes {encoder.resolution} a side, and this pipeline's network is called "
            f"with {x.shape[-1]}; draw images of that size."
        )


def seen_sample(seen: Tensor | None, prediction: Tensor) -> Tensor:
    """The sample that a network was called with, if it is one of noisy images.

    Raises:
        UserError: it is something else, or no gradient can be had of it.
    """
    if seen is None or seen.shape != prediction.shape or prediction.ndim != 4:
        shape = None if seen is None else tuple(seen.shape)
        raise UserError(
            "SemanticGuider reads the sample that the network is called with, (B, C, H, W) as "
            f"what it predicts; here it is {shape}, and the prediction {tuple(prediction.shape)}. "
            "Packed tokens and channels of a mask are not known."
        )
    if torch.is_inference_mode_enabled():
        raise UserError(
            "torch.inference_mode() leaves no gradient, which guidance needs; torch.no_grad() is "
            "what diffusers' pipelines use."
        )
    return seen.detach().float()
