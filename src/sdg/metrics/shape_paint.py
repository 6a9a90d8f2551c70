"""The shapes' colours: those that fit images best once the outlines are known."""

from typing import NamedTuple

import numpy as np

from sdg.data import shape_drawing
from sdg.data.shape_drawing import BACKGROUNDS, COLOURS

__all__ = ["Paint", "best_paint", "picture"]


class Paint(NamedTuple):
    """The best colours of N outlines, shade and ground, and the squared error: (N,) each."""

    colour: np.ndarray
    background: np.ndarray
    shade: np.ndarray
    ground: np.ndarray
    error: np.ndarray

    def object_colours(self) -> np.ndarray:
        """The colours of the objects, (N, 3)."""
        return np.clip(COLOURS[self.colour] * self.shade[:, None], 0, 1)


def best_paint(x: np.ndarray, m: np.ndarray, f: np.ndarray) -> Paint:
    """The colour, background, shade and ground of least squared error.

    They are for images (N, 3, P) and outlines (N, P). For a colour c,
    min over g, s of ‖x − g(1 − m) − s·c f‖², held within what the data has.
    """
    bare = 1 - m
    a = 3 * (bare * bare).sum(1)[:, None, None]
    b = ((bare * f).sum(1)[:, None] * COLOURS.sum(1))[:, :, None]
    d = ((f * f).sum(1)[:, None] * np.square(COLOURS).sum(1))[:, :, None]
    u = (x.sum(1) * bare).sum(1)[:, None, None]
    w = ((x * f[:, None]).sum(2) @ COLOURS.T)[:, :, None]
    low, high = (np.clip(BACKGROUNDS + lift, 0, 1) for lift in shape_drawing.LIFT)
    g = np.clip((u * d - w * b) / (a * d - b * b), low, high)  # (N, colours, backgrounds)
    s = np.clip((w - g * b) / d, *shape_drawing.TINT)
    g = np.clip((u - s * b) / a, low, high)
    error = g * g * a + 2 * g * s * b + s * s * d - 2 * (g * u + s * w)
    colour, background = np.divmod(error.reshape(len(x), -1).argmin(1), len(BACKGROUNDS))
    rows = np.arange(len(x))
    shade, ground = s[rows, colour, background], g[rows, colour, background]
    paint = Paint(colour, background, shade, ground, rows)
    return paint._replace(error=np.square(x - picture(m, f, paint)).sum((1, 2)))


def picture(m: np.ndarray, f: np.ndarray, paint: Paint) -> np.ndarray:
    """Images, (N, 3, P), of outlines (N, P) in their colours."""
    return (
        paint.object_colours()[:, :, None] * f[:, None] + (paint.ground[:, None] * (1 - m))[:, None]
    )
