"""The denoiser that a config chooses: one trained here, or somebody else's."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from sdg.app.making import section
from sdg.app.plain import plain
from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError
from sdg.io.diffusers_autoencoder import autoencoder_folder
from sdg.io.hub import located
from sdg.io.pretrained import ASKED, PROMPTS, MissingSettings
from sdg.io.text_folder import is_text_folder
from sdg.models.autoencoder import Autoencoder
from sdg.models.guided import guided_denoiser, refuse_alone
from sdg.models.registry import load_autoencoder, load_denoiser, load_weaker
from sdg.pipeline.part_checks import check_pixels, check_space

__all__ = [
    "autoencoder_path",
    "chosen_autoencoder",
    "chosen_denoiser",
    "chosen_guided_denoiser",
    "denoiser_path",
    "loaded_denoiser",
]

GUIDANCE = ("guidance_scale", "guidance_interval", "negative_label")
AUTOGUIDANCE = ("autoguidance_scale", "autoguidance_interval")


def denoiser_path(config: DictConfig) -> str:
    """Where it lies: a file, a folder, or a name on the hub.

    Raises:
        UserError: the config does not say.
    """
    if "weights" in config.denoiser:
        return config.denoiser.weights
    if "path" not in config.denoiser:
        raise UserError(
            "this denoiser is one to train, from nothing; to sample, choose denoiser=trained or "
            "denoiser=pretrained denoiser.path=FILE."
        )
    if config.denoiser.path is None:
        raise UserError(
            "denoiser=pretrained needs denoiser.path=FILE, a folder, or owner/name on the hub."
        )
    return config.denoiser.path


def chosen_denoiser(config: DictConfig) -> Denoiser:
    """The denoiser of images, frozen.

    Raises:
        UserError: it draws latents.
    """
    path = denoiser_path(config)
    if is_text_folder(located(path)):
        raise UserError(f"{path} is a Stable Diffusion, of latents; here one of images is needed.")
    denoiser = loaded_denoiser(config)
    check_pixels(denoiser)
    return denoiser


def loaded_denoiser(config: DictConfig) -> Denoiser:
    """The denoiser, of images or of latents, frozen.

    What a foreign file could not tell is printed, with the source of each value.
    """
    asked = settings_of_file(config)
    label, tell = config.denoiser.get("label"), rank_zero_only(print)
    try:
        with section("denoiser"):
            return load_denoiser(denoiser_path(config), label, asked, tell)
    except MissingSettings as error:
        raise MissingSettings(error.problem, error.kind, error.missing, "denoiser.") from error


def autoencoder_path(config: DictConfig) -> str | None:
    """The autoencoder that is named, or that lies beside the denoiser; None where neither is."""
    path: str | None = config.denoiser.get("autoencoder")
    if path is not None or not ("weights" in config.denoiser or "path" in config.denoiser):
        return path
    folder = autoencoder_folder(located(denoiser_path(config)))
    return None if folder is None else str(folder)


def chosen_autoencoder(config: DictConfig, denoiser: Denoiser) -> Autoencoder | None:
    """What makes images of a denoiser's latents, frozen; None of a denoiser of images.

    It shifts and scales them as the denoiser has learned them.

    Raises:
        UserError: it is missing, has no effect, or is of other latents.
    """
    if config.denoiser.get("autoencoder") is None and not denoiser.latents:
        return None
    path = autoencoder_path(config)
    if path is None:
        raise UserError(
            f"this denoiser draws latents of {denoiser.channels} channels; set "
            "denoiser.autoencoder=FOLDER, what makes images of them."
        )
    autoencoder = load_autoencoder(path)
    check_space(denoiser, None, autoencoder)
    return autoencoder.with_affine(denoiser.latent_affine)


def chosen_guided_denoiser(config: DictConfig) -> Denoiser:
    """The denoiser as samples are drawn from it, with classifier-free guidance and autoguidance.

    What the config says of a foreign file holds for that of the weaker denoiser too.

    Raises:
        UserError: a setting of these is out of range, or has no effect.
    """
    with section("denoiser"):
        if config.denoiser.get("guidance_scale") is None:
            refuse_alone(
                "negative_prompt", config.denoiser.get("negative_prompt"), "guidance_scale"
            )
    denoiser, weaker = loaded_denoiser(config), None
    with section("denoiser"):
        if (path := config.denoiser.get("autoguidance")) is not None:
            weaker = load_weaker(path, denoiser.label, settings_of_file(config))
        settings = options(config, (*GUIDANCE, *AUTOGUIDANCE))
        return guided_denoiser(denoiser, autoguidance=weaker, **settings)


def settings_of_file(config: DictConfig) -> dict[str, Any]:
    """What the config says of a file that does not tell all, and of a network of text.

    Hydra reads a sentence such as 7 as a number.
    """
    settings = options(config, (*ASKED, *PROMPTS))
    for name in PROMPTS:
        if settings.get(name) is not None:
            settings[name] = str(settings[name])
    return settings


def options(config: DictConfig, names: Sequence[str]) -> dict[str, Any]:
    """Those of these settings of the denoiser that the config has, as plain values."""
    settings = plain(config.denoiser)
    return {name: settings[name] for name in names if name in settings}
