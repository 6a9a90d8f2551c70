"""Portraits as layers: what every choice paints over what lies behind it, rendered once.

A layer with value v turns what lies behind it, b, into a_v + t_v·b, pixel by pixel and channel by
channel; that holds for opacity and for the blend modes screen and multiply. Rendered over black it
gives a_v, over white a_v + t_v. A portrait is the composition of its layers over its background.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from sdg.data.dicebear import Layer
from sdg.data.portrait_factors import CHOICES, FIXED

__all__ = ["NAMES", "PaintedLayer", "compose", "portrait_layers"]

NAMES = tuple(choice.name for choice in CHOICES)
GROUNDS = ("#000000", "#ffffff")
SKIN, CLOTHES, FACE, TOP, FACIAL_HAIR, EYEWEAR = (1,), (2,), (3, 4, 5, 6), (7,), (8,), (9,)
BODY = 0  # is in every layer: what is covered at an edge hangs on the bounds of all that is drawn


class PaintedLayer(NamedTuple):
    """One layer with all values that it can have.

    Attributes:
        columns: places in `NAMES` of the choices that the layer depends on.
        rows: of these choices, for every value of the layer: integers (V, len(columns)).
        added: a_v, (V, 3·H·W) in [0, 1].
        kept: t_v, (V, 3·H·W) in [0, 1].
    """

    columns: tuple[int, ...]
    rows: Tensor
    added: Tensor
    kept: Tensor

    def place_of(self, choices: Tensor) -> Tensor:
        """Which value of the layer each row of choices, (B, 10), asks for: (B,)."""
        same = (choices[:, None, self.columns] == self.rows).all(2)
        return same.int().argmax(1)


@lru_cache(maxsize=4)
def portrait_layers(resolution: int) -> tuple[PaintedLayer, ...]:
    """All layers from back to front, rendered at the first call, in about 3 seconds.

    The first is the background. Hair and facial hair share a colour, so that top and facial hair
    are one layer, of all they can be together. A choice that shows nowhere (the colour of headwear
    on a bare head) is 0.
    """
    ground = painted((), ("background",), resolution)
    skin = painted(SKIN, ("skin",), resolution)
    clothes = painted(CLOTHES, ("clothes", "clothes_colour"), resolution)
    face = painted(FACE, ("expression",), resolution)
    top = painted(TOP, ("top", "hair_colour", "headwear_colour"), resolution)
    beard = painted(FACIAL_HAIR, ("facial_hair", "hair_colour"), resolution)
    eyewear = painted(EYEWEAR, ("eyewear",), resolution)
    return ground, skin, clothes, face, over(beard, top), eyewear


class Composable(Protocol):
    """What `compose` takes of a layer."""

    @property
    def added(self) -> Tensor: ...

    @property
    def kept(self) -> Tensor: ...


def compose(layers: Sequence[Composable], places: Tensor) -> Tensor:
    """Portraits from the values of their layers: (B, 3·H·W) in [0, 1].

    Arguments:
        places: the value that each layer has, integers (B, layers).
    """
    image = torch.zeros(len(places), layers[0].added.shape[1])
    for layer, place in zip(layers, places.T, strict=True):
        image = layer.added[place] + layer.kept[place] * image
    return image


def painted(elements: Sequence[int], names: Sequence[str], resolution: int) -> PaintedLayer:
    """Renders a layer with every value of the choices that it depends on.

    Arguments:
        elements: places in the style's canvas; none is the background.
        names: of the choices.
    """
    layer = Layer("avataaars", [BODY, *elements])
    columns = tuple(NAMES.index(name) for name in names)
    rows, added, kept = [], [], []
    for row in product(*(range(len(CHOICES[column].values)) for column in columns)):
        if row != visible(columns, row):
            continue
        options = dict(FIXED)
        for column, value in zip(columns, row, strict=True):
            options |= CHOICES[column].values[value].options
        if elements:
            grounds = [{"skinColor": hex, "backgroundColor": hex} for hex in GROUNDS]  # the body
            black, white = (pixels(layer, ground | options, resolution) for ground in grounds)
        else:
            hidden = {"skinColor": options["backgroundColor"]}
            black = white = pixels(layer, options | hidden, resolution)
        rows.append(row)
        added.append(black)
        kept.append(white - black)
    return PaintedLayer(columns, torch.tensor(rows), stacked(added), stacked(kept))


def visible(columns: Sequence[int], row: Sequence[int]) -> tuple[int, ...]:
    """The row with 0 for every choice that this layer does not show."""
    values = {
        column: CHOICES[column].values[value] for column, value in zip(columns, row, strict=True)
    }
    options = {key: option for value in values.values() for key, option in value.options.items()}
    shows = {key for value in values.values() for key in value.shows}
    top = options.get("topProbability") != 0
    beard = options.get("facialHairProbability") == 100
    hidden = {
        "hair_colour": not (top and "hair" in shows) and not beard,
        "headwear_colour": not (top and "headwear" in shows),
    }
    return tuple(
        0 if hidden.get(NAMES[column]) else value
        for column, value in zip(columns, row, strict=True)
    )


def over(front: PaintedLayer, back: PaintedLayer) -> PaintedLayer:
    """Two layers as one: a = a_front + t_front·a_back, t = t_front·t_back.

    A choice that both depend on is the same in both, wherever both show it.
    """
    columns = tuple(dict.fromkeys(back.columns + front.columns))
    rows, pairs = [], []
    backs, fronts = enumerate(back.rows.tolist()), enumerate(front.rows.tolist())
    for (i, behind), (j, before) in product(backs, fronts):
        one = dict(zip(back.columns, behind, strict=True))
        other = dict(zip(front.columns, before, strict=True))
        merged = other | one
        for column in set(one) & set(other):
            merged[column] = max(one[column], other[column])
        if agrees(back, merged, behind) and agrees(front, merged, before):
            rows.append([merged[column] for column in columns])
            pairs.append((i, j))
    i, j = torch.tensor(pairs).T
    added = front.added[j] + front.kept[j] * back.added[i]
    return PaintedLayer(columns, torch.tensor(rows), added, front.kept[j] * back.kept[i])


def agrees(layer: PaintedLayer, merged: dict[int, int], row: Sequence[int]) -> bool:
    """Whether these choices show, on this layer, what its row shows."""
    return visible(layer.columns, [merged[column] for column in layer.columns]) == tuple(row)


def pixels(layer: Layer, options: dict, resolution: int) -> np.ndarray:
    return layer.render(options, resolution)[..., :3].transpose(2, 0, 1).reshape(-1)


def stacked(rows: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(rows)).float().div_(255)
