"""What guided sampling asks of its parts; a pipeline and the command ask alike."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.sampler import Sampler
from sdg.diffusion.sampling import checked_strength
from sdg.errors import UserError, first_line, near, number
from sdg.guidance.guidance import Guidance
from sdg.guidance.semantic import SemanticGuidance
from sdg.models.autoencoder import Autoencoder
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.models.kin import check_kin

__all__ = [
    "check_devices",
    "check_parts",
    "check_pixels",
    "check_space",
    "checked_captions",
    "checked_device",
    "checked_function",
    "checked_kind",
    "checked_path",
    "checked_weights",
    "chosen_encoder",
    "chosen_guidance",
    "chosen_sampler",
    "chosen_strength",
]

Part = TypeVar("Part")
Function = TypeVar("Function", bound=Callable[..., Any])


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
    if denoiser.latents:
        raise UserError(
            f"this denoiser draws latents of {denoiser.channels} channels; here one of images is "
            "needed."
        )


def check_space(
    denoiser: Denoiser, encoder: ImageEncoder | None, autoencoder: Autoencoder | None
) -> None:
    """Whether the parts agree on what is sampled, images or latents, and of which channels.

    Raises:
        UserError: they do not.
    """
    if autoencoder is None and denoiser.latents:
        raise UserError(
            f"this denoiser draws latents of {denoiser.channels} channels; give the autoencoder "
            "that makes images of them, Pipeline(…, autoencoder=…)."
        )
    if autoencoder is not None and not denoiser.latents:
        raise UserError("this denoiser draws images of its own; leave out the autoencoder.")
    if autoencoder is not None and autoencoder.channels != denoiser.channels:
        raise UserError(
            f"the denoiser draws latents of {denoiser.channels} channels, the autoencoder has "
            f"{autoencoder.channels}; give the one that the denoiser was trained with."
        )
    if autoencoder is not None:
        check_latents(denoiser, encoder, autoencoder)
    read = None if encoder is None else encoder.latent_channels
    if read is not None and autoencoder is None:
        raise UserError(
            f"the encoder reads latents of {read} channels, and this denoiser draws images; give "
            "an encoder of images."
        )
    if read is not None and read != denoiser.channels:
        raise UserError(
            f"the encoder reads latents of {read} channels, the denoiser draws "
            f"{denoiser.channels}; give an encoder of this denoiser's latents."
        )


def check_latents(
    denoiser: Denoiser, encoder: ImageEncoder | None, autoencoder: Autoencoder
) -> None:
    """Whether every network that is called has learned this autoencoder's latents, as they say.

    They are shifted and scaled as the denoiser's own, where it has a `latent_affine`.

    Raises:
        UserError: one has learned those of another.
    """
    name = "the denoiser, or one that it is guided away from,"
    learned = [(name, part.autoencoder_digest) for part in denoiser.passes]
    if encoder is not None:
        learned.append(("the encoder", encoder.autoencoder_digest))
    known = [(name, digest) for name, digest in learned if digest is not None]
    sampled = autoencoder.with_affine(denoiser.latent_affine)
    own = sampled.latents_digest if known else None
    scaled = "" if denoiser.latent_affine is None else ", shifted and scaled as this denoiser's"
    for name, digest in known:
        if own is not None and digest != own:
            raise UserError(
                f"{name} has learned the latents of another autoencoder than this one{scaled}; "
                "give the one that it was trained with."
            )


def checked_kind(name: str, value: Part, kind: type[Any]) -> Part:
    """`value`, if it is of this kind.

    Raises:
        UserError: it is not.
    """
    if not isinstance(value, kind):
        raise UserError(f"{name} must be a {kind.__module__}.{kind.__name__}, not {value!r}.")
    return value


def checked_function(name: str, function: Function, *arguments: str) -> Function:
    """The function, if it can be called with these arguments.

    Raises:
        UserError: it is none, or takes fewer or more.
    """
    form = f"a function of ({', '.join(arguments)})"
    if not callable(function):
        raise UserError(f"{name} must be {form}, not {function!r}.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some that are written in C
        return function
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise UserError(f"{name} must be {form}, but it takes {signature}.") from error
    return function


def checked_device(name: str | torch.device) -> torch.device:
    """The device of this name.

    Raises:
        UserError: torch knows none, or this machine has none.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        why = first_line(error).partition(". ")[0]
        raise UserError(f"there is no device {name!r} here: {why}.") from error
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


def checked_path(name: str, path: str | Path) -> Path:
    """The path, with ~ expanded.

    Raises:
        UserError: it is none, or empty.
    """
    if not isinstance(path, (str, Path)) or not str(path):
        raise UserError(f"{name} must be the name or the path of a folder, not {path!r}.")
    return Path(path).expanduser()


def checked_captions(captions: Sequence[str]) -> list[str]:
    """Negative captions as a list.

    Raises:
        UserError: they are something else, such as one sentence.
    """
    listed = isinstance(captions, Sequence) and not isinstance(captions, str)
    for each in captions if listed else [None]:
        if not isinstance(each, str):
            given = captions if each is None else each
            raise UserError(f"negative_captions must be a list of sentences, not {given!r}.")
    return list(captions)


def checked_weights(weights: Mapping[str, float] | None, kinds: Sequence[str]) -> dict[str, float]:
    """{similarity: weight} of some of the pipeline's own similarities.

    Arguments:
        kinds: those that are asked for.

    Raises:
        UserError: a weight of another one, or one that is no number.
    """
    if not isinstance(weights, (Mapping, type(None))):
        raise UserError(f"weights must be {{similarity: weight}}, not {weights!r}.")
    checked = {}
    for name, weight in (weights or {}).items():
        if not kinds:
            raise UserError(f"weights: {name!r} has a weight, and no similarity is asked for.")
        if name not in kinds:
            raise UserError(
                f"weights: this call asks for no {name!r}{near(name, kinds) or '.'} It asks for "
                f"{', '.join(kinds)}."
            )
        checked[name] = number(f"weights[{name!r}]", weight)
    return checked


def chosen_encoder(
    encoder: ImageEncoder | None,
    clip: TextEncoder | None,
    guidance: Guidance,
    latents: bool = False,
) -> ImageEncoder | None:
    """The encoder that this guidance reads: of x̂_0 a clean one, or a classifier, which has none.

    Arguments:
        encoder, clip: of the pipeline.
        latents: whether the denoiser draws latents.

    Raises:
        UserError: the guidance reads x̂_0, and both know noisy images or sentences alone; or it
            reads noisy latents, and the encoder reads images.
    """
    if latents and encoder is not None:
        check_seen(encoder, guidance)
    if not guidance.at_clean or (encoder is not None and encoder.classes):
        return encoder
    for part in (encoder, clip):
        if isinstance(part, ImageEncoder) and part.schedule is None:
            return part
    if encoder is None:
        return None
    raise UserError(
        f"guidance {type(guidance).__name__} reads the predicted clean image, and this pipeline's "
        "encoder was trained on noisy ones; give the clean CLIP that it was made from, "
        "Pipeline(…, clip=…)."
    )


def check_seen(encoder: ImageEncoder, guidance: Guidance) -> None:
    """Raises a `UserError` for a guidance of noisy latents with an encoder of images."""
    if guidance.at_clean or encoder.latent_channels is not None:
        return
    raise UserError(
        f"guidance {type(guidance).__name__} reads noisy latents, and this pipeline's encoder "
        "reads images: take a guidance that reads the decoded estimate, such as DPS or MPGD, or a "
        "noise-aware encoder of these latents."
    )


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
    checked_kind("guidance", guidance, Guidance)
    if gamma is not None:
        raise UserError("gamma belongs to a guidance of one's own: give it there, not here.")
    return guidance


def chosen_sampler(sampler: Sampler | None, steps: int | None, own: Sampler) -> Sampler:
    """The sampler of a call, by default the pipeline's own, with so many steps.

    Raises:
        UserError: there are two numbers of steps, or `sampler` is none.
    """
    if sampler is None:
        return checked_kind("sampler", own if steps is None else own.with_steps(steps), Sampler)
    checked_kind("sampler", sampler, Sampler)
    if steps is not None:
        raise UserError("steps belongs to a sampler of one's own: give it there, not here.")
    return sampler


def chosen_strength(strength: float | None, from_image: bool) -> float:
    """The share of the steps that are taken: all, or from an image 0.6 where a call names none.

    Raises:
        UserError: it is not in (0, 1], or there is no image that it could be from.
    """
    if strength is None:
        return 0.6 if from_image else 1.0
    if not from_image:
        raise UserError("strength says how far from init_image; give one too, or leave it out.")
    return checked_strength(strength)
