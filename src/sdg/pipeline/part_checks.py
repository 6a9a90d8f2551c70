"""Whether the parts of guided sampling go together; a pipeline and the command ask alike."""

import torch
from torch import nn

from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError
from sdg.models.autoencoder import Autoencoder
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.models.kin import check_kin

__all__ = ["check_devices", "check_parts", "check_pixels", "check_space"]


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
