"""A folder of the user's own images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import Dataset

from sdg.errors import UserError, integer

__all__ = ["ImageFolder", "image_files", "load_image"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


class ImageFolder(Dataset):
    """Every image under a folder, scaled so that its shorter side is `resolution`, then cropped to the centre square.

    Items, fetched a batch at a time, are {`image`: float (B, 3, H, W) in [-1, 1]}, and with `labels` {`factors`: integers (B, 1)}: the
    class of an image is the first folder on its way from the root.

    Raises:
        UserError: no such folder, no image in it, or a file that cannot be read.
    """

    def __init__(self, folder: str, resolution: int = 32, labels: bool = False):
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise UserError(f"data.folder: there is no folder {folder!r}; set data.folder=PATH.")
        self.resolution = integer("data.resolution", resolution, 8, 1024)
        self.files = image_files(root)
        if not self.files:
            raise UserError(f"data.folder: no image in {folder!r} (looked for {' '.join(sorted(SUFFIXES))}).")

        self.labels = [file.relative_to(root).parts[0] for file in self.files] if labels else None
        if labels and any((root / label).is_file() for label in self.labels):
            raise UserError(f"data.labels=true: {folder!r} has images outside of sub-folders; put each class in a folder of its own.")
        names = sorted(set(self.labels or ()))
        self.classes = {"class": {name: f"a photo of a {name}" for name in names}} if labels else {}
        self.factors = torch.tensor([[names.index(label)] for label in self.labels]) if labels else None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices) -> dict:
        batch = {"image": torch.stack([load_image(self.files[i], self.resolution) for i in indices])}
        return batch if self.factors is None else batch | {"factors": self.factors[list(indices)]}


def load_image(file: str | Path, resolution: int) -> torch.Tensor:
    """One image file of any size and mode as (3, resolution, resolution) in [-1, 1]: upright, in RGB, its centre square.

    Raises:
        UserError: it is missing or cannot be read.
    """
    try:
        with Image.open(Path(file).expanduser()) as opened:
            image = ImageOps.fit(as_rgb(ImageOps.exif_transpose(opened)), (resolution,) * 2, Image.Resampling.BICUBIC)
    except FileNotFoundError as error:
        where = "" if Path(file).expanduser().is_absolute() else f" (looked for from {Path.cwd()})"
        raise UserError(f"there is no image {file}{where}.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"cannot read the image {file}: {error}. Remove or replace it.") from error
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(127.5).sub_(1)


def image_files(folder: str | Path) -> list[Path]:
    """Every image file under a folder, in the order of names."""
    return sorted(f for f in Path(folder).rglob("*") if f.suffix.lower() in SUFFIXES)


def as_rgb(image: Image.Image) -> Image.Image:
    """RGB from any mode: transparency shows white, and 16-bit greyscale, which pillow would clip at 255, is scaled."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.float64).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
