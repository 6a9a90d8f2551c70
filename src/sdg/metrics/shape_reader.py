"""Reads the shapes by rendering: templates first, then all that is continuous."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sdg.data import shape_drawing
from sdg.data.captions import FACTORS
from sdg.data.shape_drawing import BACKGROUNDS, COLOURS
from sdg.metrics.reading import Reading, unit_pixels
from sdg.metrics.shape_paint import Paint, best_paint, picture
from sdg.metrics.shape_templates import KINDS, cover, templates

__all__ = ["ShapeReader"]

BATCH = 32
CANDIDATES = 4  # of shape, pattern and size, that are refined
WORTH = 2.5  # those alone whose squared error is at most so many times the least
COARSE, FINE = 4, 4  # steps for every candidate, and for the best
DAMPING = 1e-2
# Finite differences of relative radius, centre and angle, for small and large: a third of a pixel.
STEP = np.array([[0.035, 0.045, 0.045, 2.5], [0.03, 0.075, 0.075, 2.0]])
BOUNDS = np.array([shape_drawing.RELATIVE, (-1, 1), (-1, 1), shape_drawing.TURN]).T


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

    def infer(self, images: Tensor) -> Reading:
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
        least = torch.full((len(x), KINDS), torch.inf)
        least.scatter_reduce_(1, bank.kind.expand(len(x), -1), errors, "amin")
        least, kinds = least.topk(CANDIDATES, largest=False)
        nearest = [
            errors.masked_fill(bank.kind != kind[:, None], torch.inf).argmin(1) for kind in kinds.T
        ]
        where = torch.stack(nearest, 1).numpy()
        worth = (least <= WORTH * least[:, :1]).numpy()
        worth[:, 0] = True
        return bank.kinds[where], bank.places[where], worth

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
        paint = best_paint(x, m, f)
        for _ in range(steps):
            slopes = self.slopes(kinds, places, step, m, f, paint)
            error = x - picture(m, f, paint)
            change = solved(slopes, error.reshape(len(x), -1), damping)[:, :4]
            tried = np.clip(places + change * step, *BOUNDS)
            m_tried, f_tried = self.covered(kinds, tried)
            paint_tried = best_paint(x, m_tried, f_tried)
            better = paint_tried.error < paint.error
            places = np.where(better[:, None], tried, places)
            m = np.where(better[:, None], m_tried, m)
            f = np.where(better[:, None], f_tried, f)
            chosen = zip(paint_tried, paint, strict=True)
            paint = Paint(*(np.where(better, new, old) for new, old in chosen))
            damping = np.where(better, damping / 4, damping * 8)
        return places, paint

    def slopes(self, kinds, places, step, m, f, paint: Paint) -> np.ndarray:
        """How the picture changes with each of six parameters, geometry first: (N, 6, 3·H·W)."""
        columns, p = [], paint.object_colours()[:, :, None]
        inwards = np.where(places + step > BOUNDS[1], -1.0, 1.0)
        for k in range(4):
            moved = places.copy()
            moved[:, k] += (inwards * step)[:, k]
            moved_m, moved_f = self.covered(kinds, moved)
            dm, df = moved_m - m, moved_f - f
            change = p * df[:, None] - (paint.ground[:, None] * dm)[:, None]
            columns.append(change * inwards[:, k, None, None])
        columns.append(COLOURS[paint.colour][:, :, None] * f[:, None])
        columns.append(np.broadcast_to((1 - m)[:, None], columns[0].shape))
        return np.stack(columns, 1).reshape(len(m), 6, -1)

    def covered(self, kinds: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coverage and brightness of objects, (N, H·W) each."""
        m, f = cover(kinds, places, self.resolution)
        return m.reshape(len(kinds), -1), f.reshape(len(kinds), -1)


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
