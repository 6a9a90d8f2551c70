"""Pictures of many images at once."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from torchvision.utils import make_grid

from sdg.data.image import to_uint8

__all__ = ["grid_columns", "labelled_grid", "labelled_rows", "plain_grid"]


def plain_grid(images: Tensor, columns: int = 8) -> Tensor:
    """Images (N, 3, H, W) in [-1, 1] in rows of `columns`: uint8, (3, H', W')."""
    return make_grid(to_uint8(images), nrow=columns, padding=2, pad_value=255)


def grid_columns(count: int) -> int:
    """How many of so many pictures stand in a row, so that all are about a square; at most 8."""
    return min(8, max(1, round(count**0.5)))


def labelled_grid(
    file: Path, images: Sequence[Tensor], labels: Sequence[str], title: str = ""
) -> Path:
    """Writes a picture of N images (3, H, W) in [-1, 1], each with its label below."""
    columns = grid_columns(len(images))
    return labelled_rows(
        file,
        [
            list(zip(images[i : i + columns], labels[i : i + columns], strict=True))
            for i in range(0, len(images), columns)
        ],
        title,
    )


def labelled_rows(
    file: Path, rows: Sequence[Sequence[tuple[Tensor, str] | None]], title: str = ""
) -> Path:
    """Writes a picture of rows of images (3, H, W) in [-1, 1], each with its label below.

    Where a row has None, a place stays empty.
    """
    from matplotlib.figure import Figure  # not pyplot: a notebook's own plots keep their backend

    columns = max(map(len, rows))
    lines = [textwrap.fill(line, 22 * columns) for line in title.split("\n")]
    title = "\n".join(lines)
    height = max(0.4, 0.2 * (title.count("\n") + 1)) if title else 0
    size = (1.75 * columns, 2.1 * len(rows) + height)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for line, row in zip(axes, rows, strict=True):
        for axis, cell in zip(line, row, strict=False):
            if cell is None:
                continue
            image, label = cell
            axis.imshow(to_uint8(image).permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_xlabel("\n".join(textwrap.wrap(label, 24)), fontsize=7)
    if title:
        figure.suptitle(title, fontsize=9)
    figure.savefig(file, dpi=110)
    return file
