"""A folder of the user's own images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import Dataset

from sdg.errors import UserError, integer

__all__ = ["ImageFolder"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


class ImageFolder(Dataset):
    """Every image under a folder, scaled so that its shorter side is `resolution`, then cropped to the centre square.

    Items, fetched a batch at a time, are {`image`: float (B, 3, H, W) in [-1, 1]}.

    Raises:
        UserError: no such folder, no image in it, or a file that cannot be read.
    """

    def __init__(self, folder: str, resolution: int = 32):
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise UserError(f"data.folder: there is no folder {folder!r}; set data.folder=PATH.")
        self.resolution = integer("data.resolution", resolution, 8, 1024)
        self.files = sorted(f for f in root.rglob("*") if f.suffix.lower() in SUFFIXES)
        if not self.files:
            raise UserError(f"data.folder: no image in {folder!r} (looked for {' '.join(sorted(SUFFIXES))}).")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict:
        try:
            with Image.open(self.files[index]) as file:
                image = ImageOps.fit(as_rgb(ImageOps.exif_transpose(file)), (self.resolution,) * 2, Image.Resampling.BICUBIC)
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise UserError(f"cannot read the image {self.files[index]}: {error}. Remove or replace it.") from error
        return {"image": torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(127.5).sub_(1)}

    def __getitems__(self, indices) -> dict:
        return {"image": torch.stack([self[i]["image"] for i in indices])}


def as_rgb(image: Image.Image) -> Image.Image:
    """RGB from any mode: transparency shows white, and 16-bit greyscale, which pillow would clip at 255, is scaled."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.float64).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
