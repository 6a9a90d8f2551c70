"""Image files of any size, format and mode, as a user expects them: upright, in RGB, square."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from sdg.data.image_files import opened_image

__all__ = ["CROPS", "load_image", "pixels", "to_uint8"]

CROPS = ("centre", "random")
ZOOM = 0.8  # the least share of the shorter side that a random crop shows, guided-diffusion's


def load_image(
    file: str | Path, resolution: int, crop: str = "centre", flip: bool = False, setting: str = ""
) -> torch.Tensor:
    """One image file as (3, resolution, resolution) in [-1, 1].

    Arguments:
        crop, flip: as of `pixels`.
        setting: that named it, if one did.

    Raises:
        UserError: it is missing or cannot be read.
    """
    with opened_image(file, setting) as image:
        return pixels(image, resolution, crop, flip)


def pixels(
    image: Image.Image, resolution: int, crop: str = "centre", flip: bool = False
) -> torch.Tensor:
    """An image of any size and mode, upright, as (3, resolution, resolution) in [-1, 1].

    Arguments:
        crop: `centre`, the whole shorter side; or `random`, a square of 0.8 to all of it, anywhere,
            from torch's generator.
        flip: mirror every other time.
    """
    image = as_rgb(
        ImageOps.exif_transpose(image),
        "I;16" if image.mode == "I" and image.format == "PNG" else image.mode,
    )  # older pillows' PNGs of 16 bits
    square = (
        image.resize((resolution,) * 2, Image.Resampling.BICUBIC, random_box(*image.size))
        if crop == "random"
        else ImageOps.fit(image, (resolution,) * 2, Image.Resampling.BICUBIC)
    )
    values = torch.from_numpy(np.array(square)).permute(2, 0, 1).float().div_(127.5).sub_(1)
    return values.flip(2) if flip and torch.rand(()) < 0.5 else values


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Images in [-1, 1] as 8-bit pixels, same shape, on the CPU."""
    return ((images.float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def random_box(width: int, height: int) -> tuple[float, float, float, float]:
    """A square within an image: left, upper, right, lower."""
    zoom, x, y = torch.rand(3).tolist()
    side = min(width, height) * (ZOOM + (1 - ZOOM) * zoom)
    left, upper = x * (width - side), y * (height - side)
    return left, upper, left + side, upper + side


def as_rgb(image: Image.Image, mode: str) -> Image.Image:
    """RGB from any mode.

    Transparency shows white, and greyscale that is not of 8 bits, which pillow would clip at 255,
    is scaled.

    Arguments:
        mode: of the image, which says how many bits a grey value has.

    Raises:
        ValueError: its values are neither in [0, 1], [0, 255] nor [0, 65535], or it has none at
            all.
    """
    if mode.startswith("I") or mode == "F":
        values = np.asarray(image).astype(np.float64)
        low, high = values.min(), values.max()  # a NaN fits no range
        white = next((white for white in whites(mode) if 0 <= low and high <= white), None)
        if white is None:
            raise ValueError(
                f"its values, from {low:g} to {high:g}, are no shades of grey that are known here"
            )
        image = Image.fromarray((values * (255 / white)).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def whites(mode: str) -> tuple[int, ...]:
    """Which values may be white.

    Of 16 bits it is 65535; of 32 bits and of floats, which no format says, the least of these that
    holds all.
    """
    if mode.startswith("I;16"):
        return (65535,)
    return (255, 65535) if mode == "I" else (1, 255, 65535)
