"""The shapes' outlines: rendered anywhere, and a bank of all kinds at all places of a grid."""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdg.data import shape_drawing
from sdg.data.captions import FACTORS
from sdg.data.shape_drawing import Placement, coverage

__all__ = ["KINDS", "Templates", "cover", "templates"]

SHAPES, _, PATTERNS, SIZES, _ = (len(values) for values in FACTORS.values())
KINDS = SHAPES * PATTERNS * SIZES
ANGLES = (-11.25, -3.75, 3.75, 11.25)  # degrees
REACH = (7, 5)  # of 32 pixels: how far off the middle small and large objects may be


def cover(kinds: np.ndarray, places: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """`coverage` of shape, pattern and size, (N, 3), at relative radius, centre, angle, (N, 4)."""
    shape, pattern, size = kinds.T
    unused = np.zeros(len(kinds), int)
    factors = np.stack([shape, unused, pattern, size, unused], 1)
    radius, centre, angle = places[:, 0], places[:, 1:3], places[:, 3]
    placement = Placement(radius, centre, angle, np.ones((len(kinds), 1)), np.zeros(len(kinds)))
    return coverage(factors, placement, resolution)


class Templates(NamedTuple):
    """Objects of every kind at every place of a grid, T of them, as rows of pixels.

    Attributes:
        kinds, places: shape, pattern and size, (T, 3); relative radius, centre, angle, (T, 4).
        bright: f, (T, H·W).
        both, square, area: ⟨m, f⟩, ⟨f, f⟩ and ⟨m, m⟩, (T,).
        kind: index of shape, pattern and size together, (T,).
        solid: place of the same outline with a plain pattern, (T,).
    """

    kinds: np.ndarray
    places: np.ndarray
    bright: Tensor
    both: Tensor
    square: Tensor
    area: Tensor
    kind: Tensor
    solid: Tensor


@lru_cache(maxsize=2)
def templates(resolution: int) -> Templates:
    """All templates: objects of each kind and angle, moved by whole pixels."""
    pixel = resolution // 32 or 1
    parts = [moved_everywhere(size, resolution, pixel) for size in range(SIZES)]
    kinds, places, lit, hidden = (np.concatenate(values) for values in zip(*parts, strict=True))
    bright, covered = torch.from_numpy(lit), torch.from_numpy(hidden)
    outlines = [
        (row[0], row[2], *place) for row, place in zip(kinds.tolist(), places.tolist(), strict=True)
    ]
    plain = {outlines[i]: i for i in np.flatnonzero(kinds[:, 1] == 0)}
    solid = [plain[outline] for outline in outlines]
    kind = torch.from_numpy((kinds[:, 0] * PATTERNS + kinds[:, 1]) * SIZES + kinds[:, 2])
    return Templates(
        kinds,
        places,
        bright,
        (covered * bright).sum(1),
        bright.square().sum(1),
        covered.square().sum(1),
        kind,
        torch.tensor(solid),
    )


def moved_everywhere(size: int, resolution: int, pixel: int) -> tuple[np.ndarray, ...]:
    """Templates of one size: kinds (T, 3), places (T, 4), brightness, coverage (T, H·W)."""
    grid = np.array(list(product(range(SHAPES), range(PATTERNS), ANGLES)))
    kinds = np.column_stack([grid[:, :2].astype(int), np.full(len(grid), size)])
    still = np.column_stack([np.ones(len(grid)), np.zeros((len(grid), 2)), grid[:, 2]])
    covered, bright = cover(kinds, still, resolution)
    room = resolution * (0.5 - shape_drawing.RADII[size] - 0.02)
    span = range(-REACH[size], REACH[size] + 1)
    places: list[np.ndarray] = []
    lit: list[np.ndarray] = []
    hidden: list[np.ndarray] = []
    for dx, dy in product(span, span):
        place = still.copy()
        place[:, 1:3] = np.clip(np.array([dx, dy]) * pixel / room, -1, 1)
        places.append(place)
        for part, moved in ((bright, lit), (covered, hidden)):
            moved.append(np.roll(part, (dy * pixel, dx * pixel), (1, 2)).reshape(len(grid), -1))
    kinds = np.tile(kinds, (len(places), 1))
    return kinds, *(np.concatenate(parts) for parts in (places, lit, hidden))
