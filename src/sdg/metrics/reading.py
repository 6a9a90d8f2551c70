"""Reading a sample by rendering it: every attribute, and how far the nearest picture of the renderer is.

    ô(x) = argmin_o ‖x − R(o)‖²,   r(x) = √(mean over pixels and channels of (x − R(ô))²),   pixels in [0, 1]

A sample shows its prompt when ô has every value that the prompt names and r ≤ r_0. Nothing is trained, so that
nothing that guides can have learned its taste.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchmetrics import Metric
from torchvision.transforms.functional import gaussian_blur

from sdg.metrics.alignment import hits, shares

__all__ = ["Reader", "Reading", "Shown", "reader_of", "shows", "unit_pixels", "visible_residual"]


class Reading(NamedTuple):
    """What a renderer says of images.

    Attributes:
        choices: everything that the renderer takes, for each image, (B, choices); nuisances too.
        factors: the values that it shows, integers (B, factors), −1 for what is not there.
        residual: r, (B,), of pixels in [0, 1].
    """

    choices: Tensor
    factors: Tensor
    residual: Tensor


class Reader(Protocol):
    """Reads images of one world.

    Attributes:
        factors: {factor: its values}, in the order of `Reading.factors`.
        threshold: r_0, above which a residual is visible.
    """

    factors: Mapping[str, tuple[str, ...]]
    threshold: float

    def read(self, images: Tensor) -> Reading:
        """Reads images (B, 3, H, W) in [-1, 1]."""


def unit_pixels(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [-1, 1] as rows of pixels in [0, 1], (B, 3·H·W)."""
    return images.float().div(2).add(0.5).clamp(0, 1).flatten(1)
