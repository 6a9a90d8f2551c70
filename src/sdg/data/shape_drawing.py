"""Anti-aliased drawings of one object, from its factors and its placement."""

from typing import NamedTuple

import numpy as np

from sdg.data.captions import FACTORS

__all__ = ["Placement", "coverage", "render", "render_masks"]

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
PERIOD, DOT = 5 / 32, 1.55 / 32  # of stripes and dots
SHADE = 0.35  # how dark they are beside the colour
RELATIVE, TURN, TINT, LIFT = (0.95, 1.05), (-15, 15), (0.94, 1.04), (-0.03, 0.03)  # what is free
SUPERSAMPLE = 3


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
    fine = np.where(
        object_mask(factors, u, v, radius)[..., None], shade, ground[:, None, None, None]
    )
    return np.round(averaged(fine, resolution) * 255).astype(np.uint8)


def render_masks(factors: np.ndarray, placement: Placement, resolution: int = 32) -> np.ndarray:
    """Where the object is: booleans, shape (N, resolution, resolution).

    They are true where it covers at least half of a pixel.
    """
    covered = object_mask(factors, *axes_of_objects(factors, placement, resolution))
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
    covered = object_mask(factors, u, v, radius)
    bright = covered * np.where(darkened(factors[:, 2], u, v), np.float32(SHADE), np.float32(1))
    share = averaged(covered[..., None].astype(np.float32), resolution)
    return share[..., 0], averaged(bright[..., None], resolution)[..., 0]


def object_mask(
    factors: np.ndarray, u: np.ndarray, v: np.ndarray, radius: np.ndarray
) -> np.ndarray:
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
    # The angle from the nearest of five points.
    theta = np.abs((np.arctan2(u, -v) + sector / 2) % sector - sector / 2)
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
