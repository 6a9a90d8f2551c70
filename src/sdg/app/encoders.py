"""The encoders that a config chooses."""

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from sdg.app.making import of_kind
from sdg.app.run_folder import first_process
from sdg.errors import UserError
from sdg.models.encoder import Encoders, ImageEncoder

__all__ = ["chosen_encoders"]


def chosen_encoders(config: DictConfig) -> Encoders | None:
    """The image encoder and the text encoder of a sampling run; None where no config is given.

    Raises:
        UserError: the config is that of a part which cannot guide, or makes no image encoder.
    """
    if not config.encoder:
        return None
    if "_target_" not in config.encoder:
        raise UserError(
            f"encoder={config.encoder_name} cannot guide; use encoder=clip_noisy, clip or "
            "classifier_noisy, or guidance.gamma=0 to sample unguided."
        )
    made, name = instantiate(config.encoder), f"encoder._target_={config.encoder._target_}"
    encoders = made if isinstance(made, Encoders) else Encoders(made)
    image = of_kind(encoders.image, name, ImageEncoder)
    if not isinstance(getattr(image, "tower", None), nn.Module):
        raise UserError(f"{name} has no `tower`, the network that every image passes.")
    if image.notice and first_process():
        print(image.notice)
    return Encoders(image.eval().requires_grad_(False), encoders.text)
