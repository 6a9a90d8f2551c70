"""The classes that a denoiser's network knows."""

from diffusers.models import UNet2DModel
from torch import nn

from sdg.models.diffusers_dit import DiffusersDiT
from sdg.models.dit import DiT
from sdg.models.edm2_unet import EDM2UNet
from sdg.models.edm_unet import EDMUNet
from sdg.models.jit import JiT
from sdg.models.text_unet import NEGATIVE, TextUNet
from sdg.models.v_diffusion_unet import VDiffusionUNet

__all__ = ["class_count", "null_label"]

OURS = (DiffusersDiT, DiT, EDM2UNet, EDMUNet, JiT, VDiffusionUNet)


def class_count(network: nn.Module) -> int | None:
    """How many labels a network takes, "no class" among them where it has learned that.

    It is 0 of an unconditional network, and None of one of the user's own. A network of text has
    no label that a user names: its two are the prompt and the negative prompt.
    """
    if isinstance(network, TextUNet):
        return 0
    if isinstance(network, UNet2DModel):
        classes: int | None = network.config.num_class_embeds
        return classes or 0
    if not isinstance(network, OURS):
        return None
    return int(network.classes) + (network.null_label is not None)


def null_label(network: nn.Module) -> int | None:
    """The label of "no class"; None where the network has learned none, or does not tell.

    Of a network of text it is that of the negative prompt.
    """
    if isinstance(network, TextUNet):
        return NEGATIVE
    return network.null_label if isinstance(network, OURS) else None
