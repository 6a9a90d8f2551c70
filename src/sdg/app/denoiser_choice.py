"""The denoiser that a config chooses: one trained here, or somebody else's."""

from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from sdg.app.making import section
from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError
from sdg.io.pretrained import ASKED, MissingSettings
from sdg.models.registry import load_denoiser

__all__ = ["chosen_denoiser", "denoiser_path"]


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
    """The denoiser, frozen.

    What a foreign file could not tell is printed, with the source of each value.
    """
    asked = {name: config.denoiser[name] for name in ASKED if name in config.denoiser}
    label, tell = config.denoiser.get("label"), rank_zero_only(print)
    try:
        with section("denoiser"):
            return load_denoiser(denoiser_path(config), label, asked, tell)
    except MissingSettings as error:
        raise MissingSettings(error.problem, error.kind, error.missing, "denoiser.") from error
