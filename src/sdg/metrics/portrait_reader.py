"""Reads portraits by rendering: the choices whose portrait is nearest, and how far it is."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from sdg.data.portrait_factors import FACTORS, factors_of
from sdg.metrics.portrait_layers import NAMES, PaintedLayer, compose, portrait_layers
from sdg.metrics.reading import Reading, unit_pixels

__all__ = ["PortraitReader"]

BATCH = 128
PROTOTYPES = 256  # random portraits, the nearest of which is a start
GAIN = 1e-3  # sums of squares that differ by less are equal: rounding of float32
SWEEPS = 20


class PortraitReader:
    """ô(x) = argmin_o ‖x − R(o)‖² over all portraits, and the residual r(x).

    Pixels are in [0, 1] here. R is the composition of layers that `portrait_layers` renders once,
    within 2/255 of the renderer. Coordinate descent: one layer's value at a time, the best of all
    its values, until none changes; from each of several starts, of which the nearest portrait
    counts. The result depends on nothing random.

    Arguments:
        resolution: side of the images in pixels.
        starts: number of starts.
        layers: other layers than those of the resolution.
    """

    factors = FACTORS
    threshold = 0.05  # r_0: `visible_residual` of 500 held-out portraits of 64 × 64

    def __init__(
        self, resolution: int = 64, starts: int = 2, layers: Sequence[PaintedLayer] | None = None
    ):
        self.resolution, self.starts, self.given = resolution, starts, layers

    @cached_property
    def layers(self) -> list["Coordinate"]:
        """R's layers, rendered when the first image is read: a run draws before it measures."""
        return [Coordinate(layer) for layer in self.given or portrait_layers(self.resolution)]

    @cached_property
    def prototypes(self) -> Tensor:
        """The layers' values of random portraits, (starts, prototypes, layers)."""
        generator = torch.Generator().manual_seed(0)
        shape = (self.starts, PROTOTYPES)
        values = [
            torch.randint(len(layer.rows), shape, generator=generator) for layer in self.layers
        ]
        return torch.stack(values, 2)

    def infer(self, images: Tensor) -> Reading:
        """Reads images (B, 3, H, W) in [-1, 1]: choices (B, 10), factors (B, 11), r (B,)."""
        parts = [self.nearest(unit_pixels(part).cpu()) for part in images.split(BATCH)]
        places = torch.cat([places for places, _ in parts])
        choices = self.choices_of(places)
        factors = torch.from_numpy(factors_of(choices.numpy()))
        residual = torch.cat([residual for _, residual in parts])
        return Reading(*(values.to(images.device) for values in (choices, factors, residual)))

    def rendered(self, choices: Tensor) -> Tensor:
        """The portraits that the layers make of choices (B, 10): (B, 3, H, W) in [-1, 1]."""
        places = torch.stack([layer.place_of(choices) for layer in self.layers], 1)
        image = compose(self.layers, places)
        side = round((image.shape[1] / 3) ** 0.5)
        return image.unflatten(1, (3, side, side)) * 2 - 1

    def choices_of(self, places: Tensor) -> Tensor:
        """The choices that the layers' values make, (B, 10); 0 for what shows nowhere."""
        choices = torch.zeros(len(places), len(NAMES), dtype=torch.long)
        for layer, place in zip(self.layers, places.T, strict=True):
            choices[:, layer.columns] = layer.rows[place]
        return choices

    def nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The layers' values, (B, layers), and r, (B,), of pixels (B, 3·H·W) in [0, 1]."""
        ends = [self.descend(x, self.begin(x, prototypes)) for prototypes in self.prototypes]
        errors = [(x - compose(self.layers, places)).square().mean(1) for places in ends]
        residual, start = torch.stack(errors).sqrt().min(0)
        return torch.stack(ends)[start, torch.arange(len(x))], residual

    def begin(self, x: Tensor, prototypes: Tensor) -> Tensor:
        """The nearest prototype of each image, (B, layers)."""
        return prototypes[torch.cdist(x, compose(self.layers, prototypes)).argmin(1)]

    def descend(self, x: Tensor, places: Tensor) -> Tensor:
        """From these values of all layers, (B, layers), to where no single change is nearer."""
        moving = torch.arange(len(x))
        for _ in range(SWEEPS):
            before = places[moving]
            places[moving] = self.sweep(x[moving], before.clone())
            moving = moving[(places[moving] != before).any(1)]
            if not len(moving):
                break
        return places

    def sweep(self, x: Tensor, places: Tensor) -> Tensor:
        """Each layer's best value in turn, from back to front."""
        behind = torch.zeros_like(x)
        fronts = in_front(self.layers, places, x)
        for i, (layer, (added, kept)) in enumerate(zip(self.layers, fronts, strict=True)):
            errors = layer.errors(x - added, kept, behind)
            current = errors.gather(1, places[:, i : i + 1])[:, 0]
            best, place = errors.min(1)
            places[:, i] = torch.where(best < current - GAIN, place, places[:, i])
            behind = layer.added[places[:, i]] + layer.kept[places[:, i]] * behind
        return places


class Coordinate:
    """One layer, and the squared errors of all its values at once.

    With a, t of the layer, b behind it, k what the layers in front keep and y = x − what they add,

        ‖y − k(a_v + t_v b)‖² = ‖y‖² − 2⟨ky, a_v⟩ − 2⟨kyb, t_v⟩
                                + ⟨k², a_v²⟩ + 2⟨k²b, a_v t_v⟩ + ⟨k²b², t_v²⟩,

    one product of matrices. Pixels in which all values agree are left out, and so is ‖y‖².
    """

    def __init__(self, layer: PaintedLayer):
        self.columns, self.rows, self.added, self.kept = layer
        self.place_of = layer.place_of
        differs = (self.added != self.added[:1]).any(0) | (self.kept != self.kept[:1]).any(0)
        self.pixels = differs.nonzero()[:, 0]
        a, t = self.added[:, self.pixels], self.kept[:, self.pixels]
        self.powers = torch.cat([a, t, a * a, a * t, t * t], 1)

    def errors(self, y: Tensor, k: Tensor, b: Tensor) -> Tensor:
        """The squared errors but for what all values share, (B, V), of y, k and b, (B, 3·H·W)."""
        y, k, b = y[:, self.pixels], k[:, self.pixels], b[:, self.pixels]
        ky, kk = k * y, k * k
        kkb = kk * b
        return torch.cat([-2 * ky, -2 * ky * b, kk, 2 * kkb, kkb * b], 1) @ self.powers.T


def in_front(
    layers: Sequence[Coordinate], places: Tensor, x: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """What all layers in front of each one add and keep, each of the shape of x."""
    fronts = [(torch.zeros_like(x), torch.ones_like(x))]
    for layer, place in zip(layers[:0:-1], places.T.flip(0), strict=False):
        added, kept = fronts[-1]
        fronts.append((added + kept * layer.added[place], kept * layer.kept[place]))
    return fronts[::-1]
