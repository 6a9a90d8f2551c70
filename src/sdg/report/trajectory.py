"""From noise to image: an animation of x_t beside x̂_0, and a strip of x̂_0."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sdg.report.grid import labelled_rows, plain_grid

__all__ = ["Trajectory"]

STRIP = 10  # columns of the strip
SIDE = 96  # pixels that an image has at least, so that small ones can be seen
FRAMES = 60  # of the animation, at most


class Trajectory:
    """Collects the steps of a few samples.

    Arguments:
        folder: gets `trajectory.gif`, with x_t above x̂_0, and `trajectory.png`, a row of x̂_0 for
            each sample.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.states: list[Tensor] = []
        self.guesses: list[Tensor] = []

    def add(self, x: Tensor, x0: Tensor) -> None:
        """A step's x_s and x̂_0, (B, 3, H, W) each."""
        self.states.append(x.cpu())
        self.guesses.append(x0.cpu())

    def write(self) -> Path:
        """Both files; the strip's path."""
        last, count = len(self.states) - 1, len(self.states[0])
        shown = [
            round(k * last / max(1, min(FRAMES, last + 1) - 1))
            for k in range(min(FRAMES, last + 1))
        ]
        frames = [picture(torch.cat([self.states[k], self.guesses[k]]), count) for k in shown]
        frames[0].save(
            self.folder / "trajectory.gif",
            save_all=True,
            append_images=frames[1:],
            duration=[80] * (len(frames) - 1) + [1500],
            loop=0,
        )
        columns = sorted({round(k * last / (STRIP - 1)) for k in range(STRIP)})
        rows = []
        for i in range(count):
            labels = [f"step {k + 1}" if i == count - 1 else "" for k in columns]
            images = [self.guesses[k][i] for k in columns]
            rows.append(list(zip(images, labels, strict=True)))
        return labelled_rows(
            self.folder / "trajectory.png", rows, f"the predicted image x̂_0 during {last + 1} steps"
        )


def picture(images: Tensor, columns: int) -> Image.Image:
    """Images (N, 3, H, W) in [-1, 1] in rows of `columns`, enlarged by a whole number."""
    grid = Image.fromarray(plain_grid(images, columns).permute(1, 2, 0).numpy())
    factor = max(1, -(-SIDE // images.shape[-1]))
    return grid.resize((grid.width * factor, grid.height * factor), Image.Resampling.NEAREST)
