"""What guided sampling asks of its parts; a pipeline and the command ask alike."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.sampler import Sampler
from sdg.errors import UserError, choice, first_line, number
from sdg.guidance.guidance import Guidance
from sdg.guidance.semantic import SemanticGuidance
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.models.registry import check_kin

__all__ = [
    "check_devices",
    "check_parts",
    "check_pixels",
    "checked_captions",
    "checked_device",
    "checked_kind",
    "checked_weights",
    "chosen_guidance",
    "chosen_sampler",
]

Part = TypeVar("Part")


def check_parts(
    encoder: ImageEncoder | None, text_encoder: TextEncoder | None, resolution: int | None
) -> None:
    """Whether these parts can work together.

    Arguments:
        resolution: side of the samples in pixels; None where it is not known yet.

    Raises:
        UserError: the encoder reads images of another size, or was made from another CLIP.
    """
    if encoder is None:
        return
    if resolution and encoder.resolution != resolution and not encoder.any_size:
        raise UserError(
            f"the encoder takes {encoder.resolution} pixels a side, the denoiser draws "
            f"{resolution}; fine-tune the encoder at the denoiser's resolution."
        )
    check_kin(encoder, text_encoder)


def check_pixels(denoiser: Denoiser) -> None:
    """Whether a denoiser draws images.

    Raises:
        UserError: it draws latents.
    """
    if denoiser.channels != 3:
        raise UserError(
            f"this denoiser draws latents of {denoiser.channels} channels; the autoencoder that "
            "makes images of them is not read yet, so take a denoiser of RGB pixels."
        )


def checked_kind(name: str, value: Part, kind: type[Any]) -> Part:
    """`value`, if it is of this kind.

    Raises:
        UserError: it is not.
    """
    if not isinstance(value, kind):
        raise UserError(f"{name} must be a {kind.__module__}.{kind.__name__}, not {value!r}.")
    return value


def checked_device(name: str | torch.device) -> torch.device:
    """The device of this name.

    Raises:
        UserError: torch knows none, or this machine has none.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"there is no device {name!r} here: {first_line(error)}.") from error
    return device


def check_devices(device: torch.device, *others: object) -> None:
    """Raises a `UserError` where a part is on another device than the denoiser.

    Arguments:
        device: of the denoiser.
        others: the other parts; what has no weights may be anywhere.
    """
    for part in others:
        weight = next(part.parameters(), None) if isinstance(part, nn.Module) else None
        if weight is not None and weight.device != device:
            raise UserError(
                f"the {type(part).__name__} is on {weight.device}, the denoiser on {device}; "
                f'pipe.to("{device}") moves all parts.'
            )


def checked_captions(captions: Sequence[str]) -> list[str]:
    """Negative captions as a list.

    Raises:
        UserError: they are one sentence instead.
    """
    if isinstance(captions, str):
        raise UserError("negative_captions must be a list of sentences, not one sentence.")
    return list(captions)


def checked_weights(weights: Mapping[str, float] | None, kinds: Sequence[str]) -> dict[str, float]:
    """{similarity: weight} of some of the pipeline's own similarities.

    Arguments:
        kinds: those that are asked for.

    Raises:
        UserError: a weight of another one, or one that is no number.
    """
    checked = {}
    for name, weight in (weights or {}).items():
        if not kinds:
            raise UserError(f"weights: {name!r} has a weight, and no similarity is asked for.")
        checked[choice("weights", name, kinds)] = number(f"weights[{name!r}]", weight)
    return checked


def chosen_guidance(
    guidance: Guidance | None, gamma: float | None, own: float, interval: Sequence[float]
) -> Guidance:
    """The guidance of a call, by default `SemanticGuidance` with γ.

    Arguments:
        own: the pipeline's γ, where a call names none.
        interval: the pipeline's, for the default.

    Raises:
        UserError: there are two γ, or `guidance` is none.
    """
    if guidance is None:
        return SemanticGuidance(own if gamma is None else gamma, interval=interval)
    if gamma is not None:
        raise UserError("gamma belongs to a guidance of one's own: give it there, not here.")
    return checked_kind("guidance", guidance, Guidance)


def chosen_sampler(sampler: Sampler | None, steps: int | None, own: Sampler) -> Sampler:
    """The sampler of a call, by default the pipeline's own, with so many steps.

    Raises:
        UserError: there are two numbers of steps, or `sampler` is none.
    """
    if sampler is None:
        return checked_kind("sampler", own if steps is None else own.with_steps(steps), Sampler)
    if steps is not None:
        raise UserError("steps belongs to a sampler of one's own: give it there, not here.")
    return checked_kind("sampler", sampler, Sampler)
