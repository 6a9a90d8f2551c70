"""Reading a sample by rendering: its attributes, and how far the nearest rendered image is.

    ô(x) = argmin_o ‖x − R(o)‖²,   r(x) = √(mean over pixels and channels of (x − R(ô))²),

with options o of the renderer R and pixels in [0, 1].

A sample shows its prompt when ô has every value that the prompt names and r ≤ r_0. Nothing is
trained, so that nothing that guides can have learned its taste.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from sdg.metrics.alignment import hits

__all__ = [
    "Reader",
    "Reading",
    "barely_degraded",
    "shows",
    "unit_pixels",
    "visible_residual",
]

BLUR, KERNEL = 0.6, 5  # in pixels
NOISE = 0.02  # of pixels in [0, 1]
QUANTILE = 0.99


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

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]: ...

    @property
    def threshold(self) -> float: ...

    def infer(self, images: Tensor) -> Reading:
        """What images (B, 3, H, W) in [-1, 1] show."""
        ...


def unit_pixels(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [-1, 1] as rows of pixels in [0, 1], (B, 3·H·W)."""
    return images.float().div(2).add(0.5).clamp(0, 1).flatten(1)


def shows(reading: Reading, truth: Tensor, threshold: float) -> Tensor:
    """Which images show all that their prompts name, with no visible residual: booleans, (B,).

    Arguments:
        truth: what the prompts name, integers (B, factors), −1 where they name nothing.
        threshold: r_0.
    """
    right, _ = hits(reading.factors, truth)
    return right[:, -1] & (reading.residual <= threshold)


def barely_degraded(images: Tensor, blur: float = BLUR, noise: float = NOISE) -> Tensor:
    """Images (B, 3, H, W) in [-1, 1] with a blur and noise that a person can just see.

    A blur of σ = 0.6 pixels widens a sharp edge's rise from 10 to 90 % to 1.5 pixels: half a pixel
    more than the anti-aliased edge has, about what the eye first calls soft at a size where it
    still tells pixels apart. Noise of 2 % of the range is the contrast at which grain begins to
    show on an even ground (Weber's fraction is 1 to 2 %). The noise is the same at every call.

    Arguments:
        blur: standard deviation of the Gaussian in pixels.
        noise: standard deviation of the noise, pixels being in [0, 1].
    """
    soft = gaussian_blur(images, KERNEL, blur)
    grain = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    return (soft + 2 * noise * grain).clamp(-1, 1)


def visible_residual(reader: Reader, images: Tensor) -> float:
    """r_0: the residual that 1 % of real images exceed once they are `barely_degraded`.

    Arguments:
        images: real ones, (B, 3, H, W) in [-1, 1]; a few hundred.
    """
    return reader.infer(barely_degraded(images)).residual.quantile(QUANTILE).item()
