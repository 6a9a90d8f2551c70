"""What trains on latents: a denoiser and an encoder, beside the autoencoder that is chosen."""

from typing import Any

from omegaconf import DictConfig

from sdg.app.denoiser_choice import chosen_autoencoder, denoiser_path, loaded_denoiser
from sdg.app.making import section
from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError
from sdg.io.hub import located
from sdg.io.text_folder import is_text_folder
from sdg.models.autoencoder import Autoencoder
from sdg.models.registry import load_autoencoder
from sdg.models.text_unet import TextUNet
from sdg.pipeline.part_checks import check_space

__all__ = ["denoiser_to_tune", "latents_beside", "latents_for", "new_denoiser"]

LATENT_SIGMA_DATA = 1.0  # the deviation of latents that are scaled to it


def latents_for(path: str, resolution: int, key: str = "denoiser.autoencoder") -> Autoencoder:
    """The autoencoder of latents to train on, frozen.

    Arguments:
        resolution: side of the images in pixels.
        key: the setting that names it.

    Raises:
        UserError: there is none, or it takes no such images.
    """
    with section(key.rpartition(".")[0]):
        autoencoder = load_autoencoder(path)
    if resolution % autoencoder.factor:
        raise UserError(
            f"data.resolution={resolution} must be a multiple of {autoencoder.factor}, by which "
            f"{key}={path} makes images smaller."
        )
    return autoencoder


def new_denoiser(settings: dict[str, Any], autoencoder: Autoencoder | None) -> dict[str, Any]:
    """The options of a new denoiser, as `build_denoiser` takes them.

    Of latents it sees blocks of as many pixels as one of images does, the autoencoder's part of
    them taken off, and clips nothing.

    Arguments:
        settings: `denoiser` of the config, plain.

    Raises:
        UserError: a setting has no effect.
    """
    options = dict(settings)
    sigma_data = options.pop("sigma_data", None)
    if sigma_data is not None and options.get("prediction") != "edm":
        raise UserError(
            "denoiser.sigma_data has no effect without process=edm; leave it out, or set both."
        )
    if autoencoder is not None:
        if options.get("clip"):
            raise UserError(
                "denoiser.clip=true keeps estimates within [-1, 1], where images are and latents "
                "are not; leave it out."
            )
        options |= {
            "clip": False,
            "patch": max(1, options.get("patch", 1) // autoencoder.factor),
            "channels": autoencoder.channels,
            "latents": True,
            "autoencoder_digest": autoencoder.latents_digest,
        }
        sigma_data = LATENT_SIGMA_DATA if sigma_data is None else sigma_data
    if options.get("clip", False) is None:
        options["clip"] = True
    if sigma_data is not None and options.get("prediction") == "edm":
        options["sigma_data"] = float(sigma_data)
    return options


def denoiser_to_tune(config: DictConfig, resolution: int) -> tuple[Denoiser, Autoencoder | None]:
    """A denoiser that somebody trained, and the autoencoder of its latents, if it draws such.

    Arguments:
        resolution: side of the images in pixels.

    Raises:
        UserError: it draws others, or what a sentence says.
    """
    path = denoiser_path(config)
    refused = f"{path} is a Stable Diffusion, whose network of sentences is not trained here."
    if is_text_folder(located(path)):
        raise UserError(refused)
    model = loaded_denoiser(config).requires_grad_(True).train()
    if isinstance(model.network, TextUNet):
        raise UserError(refused)
    autoencoder = chosen_autoencoder(config, model)
    check_side(model, autoencoder, resolution, "this denoiser")
    digest = None if autoencoder is None else autoencoder.latents_digest
    if digest is not None and model.config is not None:
        model.autoencoder_digest = digest
        model.config["denoiser"]["autoencoder_digest"] = digest
    return model, autoencoder


def latents_beside(
    path: str | None, denoiser: Denoiser | None, resolution: int
) -> Autoencoder | None:
    """The autoencoder whose latents an encoder is to read, frozen; None where it reads images.

    It shifts and scales them as the denoiser has learned them.

    Arguments:
        path: `module.autoencoder`.
        denoiser: beside which the encoder learns; None where it needs none.
        resolution: side of the images in pixels.

    Raises:
        UserError: the denoiser draws something else.
    """
    if path is None:
        if denoiser is not None and denoiser.latents:
            raise UserError(
                f"module.denoiser draws latents of {denoiser.channels} channels; set "
                "module.autoencoder=FOLDER, the one that it was trained with."
            )
        return None
    autoencoder = latents_for(path, resolution, "module.autoencoder")
    if denoiser is None:
        return autoencoder
    check_space(denoiser, None, autoencoder)
    check_side(denoiser, autoencoder, resolution, "module.denoiser")
    return autoencoder.with_affine(denoiser.latent_affine)


def check_side(
    denoiser: Denoiser, autoencoder: Autoencoder | None, resolution: int, name: str
) -> None:
    """Raises a `UserError` where a denoiser draws images of another side, in pixels."""
    side = (denoiser.resolution or 0) * (autoencoder.factor if autoencoder else 1)
    if side != resolution:
        raise UserError(
            f"data.resolution={resolution}, but {name} draws {side} pixels a side; set "
            f"data.resolution={side}."
        )
