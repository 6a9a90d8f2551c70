"""Reads the embedded shapes by rendering: templates first, then all that is continuous."""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdg.data import shape_drawing
from sdg.data.captions import FACTORS
from sdg.data.shape_drawing import BACKGROUNDS, COLOURS, Placement, coverage
from sdg.metrics.reading import Reading, unit_pixels

__all__ = ["ShapeReader"]

BATCH = 32
SHAPES, _, PATTERNS, SIZES, _ = (len(values) for values in FACTORS.values())
ANGLES = (-11.25, -3.75, 3.75, 11.25)  # degrees
REACH = (7, 5)  # of 32 pixels: how far off the middle small and large objects may be
CANDIDATES = 4  # of shape, pattern and size, that are refined
WORTH = 2.5  # those alone whose squared error is at most so many times the least
COARSE, FINE = 4, 4  # steps for every candidate, and for the best
DAMPING = 1e-2
# Finite differences of relative radius, centre and angle, for small and large: a third of a pixel.
STEP = np.array([[0.035, 0.045, 0.045, 2.5], [0.03, 0.075, 0.075, 2.0]])
BOUNDS = np.array([shape_drawing.RELATIVE, (-1, 1), (-1, 1), shape_drawing.TURN]).T


class Paint(NamedTuple):
    """The best colours of N outlines, shade and ground, and the squared error: (N,) each."""

    colour: np.ndarray
    background: np.ndarray
    shade: np.ndarray
    ground: np.ndarray
    error: np.ndarray

    def of(self) -> np.ndarray:
        """The object's paint, (N, 3)."""
        return np.clip(COLOURS[self.colour] * self.shade[:, None], 0, 1)


class ShapeReader:
    """ô(x) = argmin_o ‖x − R(o)‖² over all that the renderer takes, and the residual r(x).

    With coverage m and brightness f of an object (`sdg.data.shape_drawing.coverage`),
    R(o) = g(1 − m) + s·c f: linear in the ground g and the shade s, which follow in closed form
    for each colour c.
    Shape, pattern and size come from templates at every pixel and four angles; the best few are
    refined by Levenberg-Marquardt steps in radius, centre and angle, the best of them further.
    Pixels are in [0, 1]. The result depends on nothing random.

    Arguments:
        resolution: side of the images in pixels.
    """

    factors = FACTORS
    threshold = 0.064  # r_0: `visible_residual` of 200 held-out images of 32 × 32

    def __init__(self, resolution: int = 32):
        self.resolution = resolution

    def read(self, images: Tensor) -> Reading:
        """Reads images (B, 3, H, W) in [-1, 1]: choices (B, 11), factors (B, 5), residuals (B,).

        The choices are the factors, then relative radius, centre, angle, shade and what is added to
        the ground, as of `sdg.data.shape_drawing.Placement`.
        """
        parts = [self.nearest(unit_pixels(part).cpu()) for part in images.split(BATCH)]
        choices, residual = (
            torch.from_numpy(np.concatenate(values)).float().to(images.device)
            for values in zip(*parts, strict=True)
        )
        return Reading(choices, choices[:, : len(FACTORS)].long(), residual)

    def nearest(self, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Choices (B, 11) and residuals (B,) of pixels in [0, 1], (B, 3·H·W)."""
        kinds, places, worth = self.candidates(rows.unflatten(1, (3, -1)))
        x = rows.numpy().astype(np.float64).reshape(len(rows), 3, -1)
        image, candidate = np.nonzero(worth)
        kept, paint = self.refine(x[image], kinds[worth], places[worth], COARSE, 1.0)
        places[image, candidate] = kept
        errors = np.full(worth.shape, np.inf)
        errors[image, candidate] = paint.error
        best = np.arange(len(x)), errors.argmin(1)
        kinds, places = kinds[best], places[best]
        places, paint = self.refine(x, kinds, places, FINE, 0.5)
        shape, pattern, size = kinds.T
        factors = np.stack([shape, paint.colour, pattern, size, paint.background], 1)
        lift = paint.ground - BACKGROUNDS[paint.background]
        choices = np.concatenate([factors, places, paint.shade[:, None], lift[:, None]], 1)
        return choices, np.sqrt(np.maximum(paint.error, 0) / x[0].size)

    def candidates(self, x: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The nearest templates of different kinds to images (B, 3, H·W).

        The ground is the median of the outermost pixels, the paint whatever fits best. With
        y = x − g, min over p of ‖y + g m − p f‖² = ‖y + g m‖² − ‖⟨y, f⟩ + g⟨m, f⟩‖² / ⟨f, f⟩.

        Returns:
            shape, pattern and size, (B, CANDIDATES, 3), relative radius, centre and angle, (B,
            CANDIDATES, 4), and which are worth refining, (B, CANDIDATES).
        """
        bank = templates(self.resolution)
        g = x[:, :, border(self.resolution)].flatten(1).median(1).values
        y = x - g[:, None, None]
        inner = torch.stack([channel @ bank.bright.T for channel in y.unbind(1)])  # ⟨y, f⟩
        on_object = inner.sum(0)[:, bank.solid]  # Σ ⟨y, m⟩: where the pattern is plain, f = m
        fit = (inner + g[None, :, None] * bank.both).square().sum(0) / bank.square
        errors = 2 * g[:, None] * on_object + 3 * g[:, None].square() * bank.area - fit
        errors += y.square().sum((1, 2))[:, None]
        least = torch.full((len(x), SHAPES * PATTERNS * SIZES), torch.inf)
        least.scatter_reduce_(1, bank.kind.expand(len(x), -1), errors, "amin")
        least, kinds = least.topk(CANDIDATES, largest=False)
        where = torch.stack(
            [
                errors.masked_fill(bank.kind != kind[:, None], torch.inf).argmin(1)
                for kind in kinds.T
            ],
            1,
        )
        worth = (least <= WORTH * least[:, :1]).numpy()
        worth[:, 0] = True
        return bank.kinds[where.numpy()], bank.places[where.numpy()], worth

    def refine(self, x, kinds, places, steps: int, scale: float) -> tuple[np.ndarray, Paint]:
        """Levenberg-Marquardt in radius, centre, angle, shade and ground; no step is a loss.

        Arguments:
            x: images, (N, 3, H·W).
            kinds: shape, pattern and size, (N, 3).
            places: relative radius, centre, angle, (N, 4).
            scale: of the finite differences.
        """
        damping = np.full(len(x), DAMPING)
        step = STEP[kinds[:, 2]] * scale
        m, f = self.covered(kinds, places)
        paint = painted(x, m, f)
        for _ in range(steps):
            slopes = self.slopes(kinds, places, step, m, f, paint)
            error = x - picture(m, f, paint)
            change = solved(slopes, error.reshape(len(x), -1), damping)[:, :4]
            tried = np.clip(places + change * step, *BOUNDS)
            m_tried, f_tried = self.covered(kinds, tried)
            paint_tried = painted(x, m_tried, f_tried)
            better = paint_tried.error < paint.error
            places = np.where(better[:, None], tried, places)
            m = np.where(better[:, None], m_tried, m)
            f = np.where(better[:, None], f_tried, f)
            paint = Paint(
                *(np.where(better, new, old) for new, old in zip(paint_tried, paint, strict=True))
            )
            damping = np.where(better, damping / 4, damping * 8)
        return places, paint

    def slopes(self, kinds, places, step, m, f, paint: Paint) -> np.ndarray:
        """How the picture changes with each of six parameters, geometry first: (N, 6, 3·H·W)."""
        columns, p = [], paint.of()[:, :, None]
        inwards = np.where(places + step > BOUNDS[1], -1.0, 1.0)
        for k in range(4):
            moved = places.copy()
            moved[:, k] += (inwards * step)[:, k]
            dm, df = (
                new - old for new, old in zip(self.covered(kinds, moved), (m, f), strict=True)
            )
            change = p * df[:, None] - (paint.ground[:, None] * dm)[:, None]
            columns.append(change * inwards[:, k, None, None])
        columns.append(COLOURS[paint.colour][:, :, None] * f[:, None])
        columns.append(np.broadcast_to((1 - m)[:, None], columns[0].shape))
        return np.stack(columns, 1).reshape(len(m), 6, -1)

    def covered(self, kinds: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coverage and brightness of objects, (N, H·W) each."""
        m, f = cover(kinds, places, self.resolution)
        return m.reshape(len(kinds), -1), f.reshape(len(kinds), -1)


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


def cover(kinds: np.ndarray, places: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """`coverage` of shape, pattern and size, (N, 3), at relative radius, centre, angle, (N, 4)."""
    shape, pattern, size = kinds.T
    unused = np.zeros(len(kinds), int)
    factors = np.stack([shape, unused, pattern, size, unused], 1)
    radius, centre, angle = places[:, 0], places[:, 1:3], places[:, 3]
    placement = Placement(radius, centre, angle, np.ones((len(kinds), 1)), np.zeros(len(kinds)))
    return coverage(factors, placement, resolution)


def painted(x: np.ndarray, m: np.ndarray, f: np.ndarray) -> Paint:
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
    return paint.of()[:, :, None] * f[:, None] + (paint.ground[:, None] * (1 - m))[:, None]


def solved(slopes: np.ndarray, error: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Solves (JᵀJ + λ diag JᵀJ) z = Jᵀe: (N, K).

    It does so for each of N slopes J, (N, K, P), errors (N, P) and λ, (N,).
    """
    square = slopes @ slopes.transpose(0, 2, 1)
    diagonal = np.einsum("nkk->nk", square)
    extra = (damping[:, None] * diagonal + 1e-6)[:, :, None] * np.eye(slopes.shape[1])
    return np.linalg.solve(square + extra, slopes @ error[:, :, None])[:, :, 0]


@lru_cache(maxsize=2)
def border(resolution: int) -> np.ndarray:
    """Places of the outermost pixels."""
    edge = np.ones((resolution, resolution), bool)
    edge[1:-1, 1:-1] = False
    return np.flatnonzero(edge)
