"""The embedded data: one anti-aliased object per image, every attribute of it known.

Five factors (shape, colour, pattern, size, background) are drawn uniformly; position and a small
rotation are free. Because the truth is known, "does the sample show what the sentence says" can be
measured.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sdg.data.captions import FACTORS, all_named, describe, zero_shot_caption
from sdg.data.image_set import ImageSet
from sdg.data.rendered import rendered
from sdg.errors import integer

__all__ = ["Placement", "Shapes", "coverage", "render", "render_masks"]

COLOURS = np.array(
    [
        [0.90, 0.12, 0.14],
        [0.98, 0.52, 0.06],
        [0.98, 0.86, 0.12],
        [0.16, 0.68, 0.22],
        [0.10, 0.80, 0.86],
        [0.14, 0.28, 0.90],
        [0.52, 0.16, 0.72],
        [0.98, 0.50, 0.72],
    ],
    np.float32,
)
BACKGROUNDS = np.array([0.96, 0.55, 0.05], np.float32)
RADII = np.array([8.0, 11.0], np.float32) / 32  # as fractions of the image's width
PERIOD, DOT, SHADE = (
    5 / 32,
    1.55 / 32,
    0.35,
)  # of stripes and dots, and how dark they are beside the colour
RELATIVE, TURN, TINT, LIFT = (0.95, 1.05), (-15, 15), (0.94, 1.04), (-0.03, 0.03)  # what is free
SUPERSAMPLE = 3
BLOCK = 500  # images that share one random generator: a data set is a prefix of every larger one


class Placement(NamedTuple):
    """What is free in an image: all but its factors. Uniform draws, one row an image."""

    radius: np.ndarray  # relative to the size's own, (N,)
    centre: np.ndarray  # in [-1, 1] of the room there is, (N, 2)
    angle: np.ndarray  # degrees, (N,)
    shade: np.ndarray  # factor on the object's colour, (N, 1)
    ground: np.ndarray  # added to the background, (N,)

    @classmethod
    def draw(cls, n: int, rng: np.random.Generator) -> "Placement":
        radius, centre = rng.uniform(*RELATIVE, n), rng.uniform(-1, 1, (n, 2))
        angle, shade = rng.uniform(*TURN, n), rng.uniform(*TINT, (n, 1))
        return cls(radius, centre, angle, shade, rng.uniform(*LIFT, n))

    def first(self, n: int) -> "Placement":
        return Placement(*(values[:n] for values in self))


def render(factors: np.ndarray, placement: Placement, resolution: int = 32) -> np.ndarray:
    """Draws one image for each row of factor indices.

    Arguments:
        factors: integers, shape (N, 5), columns in the order of `FACTORS`.
        placement: position, rotation and a slight change of size and shade.
        resolution: side of the images in pixels.

    Returns:
        uint8 images, shape (N, resolution, resolution, 3).
    """
    _, colour, pattern, _, background = factors.T
    paint = np.clip(COLOURS[colour] * placement.shade, 0, 1).astype(np.float32)
    ground = np.clip(BACKGROUNDS[background] + placement.ground, 0, 1).astype(np.float32)
    u, v, radius = axes_of_objects(factors, placement, resolution)
    dark = darkened(pattern, u, v)

    shade = np.where(dark, np.float32(SHADE), np.float32(1))[..., None] * paint[:, None, None, :]
    fine = np.where(inside(factors, u, v, radius)[..., None], shade, ground[:, None, None, None])
    return np.round(averaged(fine, resolution) * 255).astype(np.uint8)


def render_masks(factors: np.ndarray, placement: Placement, resolution: int = 32) -> np.ndarray:
    """Where the object is: booleans, shape (N, resolution, resolution).

    They are true where it covers at least half of a pixel.
    """
    covered = inside(factors, *axes_of_objects(factors, placement, resolution))
    return averaged(covered[..., None].astype(np.float32), resolution)[..., 0] >= 0.5


def axes_of_objects(
    factors: np.ndarray, placement: Placement, resolution: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates of every fine pixel in its object's own axes, and the objects' radii.

    The coordinates, v downwards, are (N, side, side) each, the radii (N,).
    """
    radius = RADII[factors[:, 3]] * placement.radius.astype(np.float32)
    centre = 0.5 + placement.centre.astype(np.float32) * (0.5 - radius - 0.02)[:, None]
    angle = np.deg2rad(placement.angle).astype(np.float32)
    side = resolution * SUPERSAMPLE
    axis = (np.arange(side, dtype=np.float32) + 0.5) / side
    dx = axis[None, None, :] - centre[:, 0, None, None]
    dy = axis[None, :, None] - centre[:, 1, None, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    return cos * dx + sin * dy, -sin * dx + cos * dy, radius


def darkened(pattern: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Which fine pixels the pattern of each image, (N,), makes dark."""
    half = np.float32(PERIOD / 2)
    stripes = np.floor(v / half).astype(np.int32) % 2 == 1
    dots = np.hypot((u + half) % PERIOD - half, (v + half) % PERIOD - half) < DOT
    return np.where((pattern == 1)[:, None, None], stripes, dots & (pattern == 2)[:, None, None])


def coverage(
    factors: np.ndarray, placement: Placement, resolution: int
) -> tuple[np.ndarray, np.ndarray]:
    """How far the object covers each pixel, and how bright it is there.

    Both are (N, resolution, resolution), in [0, 1]. With coverage m, brightness f, the object's
    paint p and the ground g, the image is

        g(1 − m) + p·f.
    """
    u, v, radius = axes_of_objects(factors, placement, resolution)
    covered = inside(factors, u, v, radius)
    bright = covered * np.where(darkened(factors[:, 2], u, v), np.float32(SHADE), np.float32(1))
    parts = (covered.astype(np.float32), bright)
    return tuple(averaged(part[..., None], resolution)[..., 0] for part in parts)


def inside(factors: np.ndarray, u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Which fine pixels belong to the object."""
    result = np.zeros(u.shape, bool)
    for index, name in enumerate(FACTORS["shape"]):
        rows = factors[:, 0] == index
        if rows.any():
            result[rows] = OUTLINES[name](
                u[rows] / radius[rows, None, None], v[rows] / radius[rows, None, None]
            )
    return result


def averaged(fine: np.ndarray, resolution: int) -> np.ndarray:
    """(N, side, side, C) to (N, resolution, resolution, C)."""
    return fine.reshape(len(fine), resolution, SUPERSAMPLE, resolution, SUPERSAMPLE, -1).mean(
        (2, 4)
    )


def star(u, v):
    sector = 2 * np.pi / 5
    theta = np.abs(
        (np.arctan2(u, -v) + sector / 2) % sector - sector / 2
    )  # angle from the nearest of five points
    r, outer, inner = np.hypot(u, v), 1.0, 0.45
    # Between a point (outer, 0) and a notch (inner, 36 degrees) the outline is a straight line.
    notch_x, notch_y = inner * np.cos(sector / 2), inner * np.sin(sector / 2)
    x, y = r * np.cos(theta), r * np.sin(theta)
    return (x - outer) * notch_y - y * (notch_x - outer) < 0


def heart(u, v):
    x, y = u * 1.18, -v * 1.18 + 0.12
    return (x * x + y * y - 1) ** 3 - x * x * y**3 < 0


OUTLINES = {
    "circle": lambda u, v: u * u + v * v < 0.92,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.8,
    "triangle": lambda u, v: (v < 0.5) & (v > -1 + 1.75 * np.abs(u)),
    "star": star,
    "heart": heart,
    "ring": lambda u, v: (u * u + v * v < 1) & (u * u + v * v > 0.3),
}


class Shapes(ImageSet):
    """Procedural images with their factors and captions.

    They are rendered once, then memory-mapped from a cache.

    Items, fetched a batch at a time, are dictionaries: `image` float (B, 3, H, W) in [-1, 1],
    `factors` integers (B, 5), and with `captions` a list of B sentences, `caption`, worded anew
    each time.

    Arguments:
        size: number of images.
        seed: of the data; sets with other seeds share no image.
        resolution: side in pixels.
        cache: folder for rendered images; None renders in memory.
        captions: give captions with the images.
        masks: give `mask` with the images, booleans (B, H, W): where the object is.
    """

    has_captions, attributes = True, FACTORS
    classes = {
        factor: {value: zero_shot_caption(factor, value) for value in values}
        for factor, values in FACTORS.items()
    }

    def __init__(
        self,
        size: int,
        seed: int,
        resolution: int = 32,
        cache: str | None = None,
        captions: bool = False,
        masks: bool = False,
    ):
        self.resolution, self.cache = integer("data.resolution", resolution, 8, 1024), cache
        self.size, self.seed, self.captions = integer("data.size", size, 1), seed, captions
        self.factors = np.concatenate([factors for factors, _ in self._blocks()])[:size]
        self.images = self._cached("", render)
        self.masks = self._cached("-masks", render_masks) if masks else None

    def _cached(self, name: str, draw) -> np.ndarray:
        """What `draw` gives for every image, from the cache's file if there is one."""
        file = (
            Path(self.cache) / f"shapes-2-{self.resolution}px-seed{self.seed}-{self.size}{name}.npy"
            if self.cache
            else None
        )

        def drawn() -> np.ndarray:
            sizes = [min(BLOCK, self.size - start) for start in range(0, self.size, BLOCK)]
            return np.concatenate(
                [
                    draw(factors[:n], placement.first(n), self.resolution)
                    for n, (factors, placement) in zip(sizes, self._blocks(), strict=True)
                ]
            )

        return rendered(file, drawn)

    def _blocks(self) -> list[tuple[np.ndarray, Placement]]:
        return [self._block(b) for b in range(-(-self.size // BLOCK))]

    def _block(self, block: int) -> tuple[np.ndarray, Placement]:
        rng = np.random.default_rng([self.seed, block])
        return np.stack(
            [rng.integers(len(values), size=BLOCK) for values in FACTORS.values()], 1
        ), Placement.draw(BLOCK, rng)

    def caption(self, index: int, variant: int = 0, named=None) -> str:
        """The caption of one image.

        Every `variant` is another wording and, unless `named` says which, other factors.
        """
        return describe(
            self.factors[index], np.random.default_rng([self.seed, 1 + index, variant]), named
        )

    def all_named(self, caption: str) -> dict[str, set[int]]:
        """The factors that a caption names, and all their values.

        Raises:
            UserError: a word that the shapes' captions never use.
        """
        return all_named(caption)

    def prompt_factors(self, index: int) -> list[str]:
        """What a prompt about one image names by default: all factors but the size."""
        return [factor for factor in FACTORS if factor != "size"]

    def class_of(self, index: int) -> str:
        """The shape of one image, as a class."""
        return FACTORS["shape"][self.factors[index][0]]

    def render_matching(self, factors: np.ndarray, keys: Sequence[int]) -> torch.Tensor:
        """New images that show these factors, (N, 5): (N, 3, H, W) in [-1, 1].

        A factor is −1 for what chance decides.

        Arguments:
            keys: of the N images; what chance decides follows from an image's own.
        """
        parts = []
        for wanted, key in zip(factors, keys, strict=True):
            rng = np.random.default_rng([self.seed, 1 << 31, key])
            drawn = np.array([[rng.integers(len(values)) for values in FACTORS.values()]])
            parts.append(
                render(np.where(wanted < 0, drawn, wanted), Placement.draw(1, rng), self.resolution)
            )
        images = np.concatenate(parts)
        return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, indices) -> dict:
        images = torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2)
        batch = {
            "image": images.to(torch.float32).div_(127.5).sub_(1),
            "factors": torch.from_numpy(self.factors[indices]),
        }
        if self.masks is not None:
            batch["mask"] = torch.from_numpy(self.masks[indices])
        if self.captions:
            variants = torch.randint(1 << 30, (len(indices),)).tolist()
            batch["caption"] = [self.caption(i, k) for i, k in zip(indices, variants, strict=True)]
        return batch

    def __getitem__(self, index: int) -> dict:
        batch = self.__getitems__([index])
        return {key: value[0] for key, value in batch.items()}
