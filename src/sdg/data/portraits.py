"""Cartoon portraits in the style avataaars (Pablo Stanley; free for personal and commercial use), every attribute known."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from sdg.data.dicebear import render
from sdg.data.portrait_captions import describe, zero_shot_caption
from sdg.data.portrait_factors import CHOICES, FACTORS, HELD_OUT_PAIRS, factors_of, options_of
from sdg.data.rendering import render_all
from sdg.errors import integer

__all__ = ["Portraits", "draw_choices", "render_portraits"]

STYLE = "avataaars"
VERSION = 1  # of what is drawn for one seed; another is another cache
BLOCK = 500  # images that share one random generator: a data set is a prefix of every larger one
SPARE = 4  # times as many rows are drawn, from which those that may be shown are taken


def render_portraits(choices: np.ndarray, resolution: int) -> np.ndarray:
    """Draws one portrait for each row of ten choices, (N, 10): uint8, (N, resolution, resolution, 3)."""
    return np.stack([render(STYLE, options_of(row), resolution) for row in choices])


def draw_choices(n: int, rng: np.random.Generator) -> np.ndarray:
    """Random choices, (n, 10), each independent of the others."""
    columns = []
    for choice in CHOICES:
        weights = np.array([value.weight for value in choice.values], float)
        columns.append(rng.choice(len(weights), n, p=weights / weights.sum()))
    return np.stack(columns, 1)


def shows_held_out(factors: np.ndarray) -> np.ndarray:
    """Whether each row of factors, (N, 11), shows a pair of `HELD_OUT_PAIRS`: booleans, (N,)."""
    names, shown = list(FACTORS), np.zeros(len(factors), bool)
    for pair in HELD_OUT_PAIRS:
        both = [factors[:, names.index(name)] == FACTORS[name].index(value) for name, value in pair]
        shown |= both[0] & both[1]
    return shown


class Portraits(Dataset):
    """Portraits with their factors; rendered at first use, then memory-mapped from a cache.

    Items, fetched a batch at a time, are dictionaries: `image` float (B, 3, H, W) in [-1, 1], `factors` integers
    (B, 11), −1 for what is not there, and with `captions` a list of B sentences, `caption`, worded anew each time.

    Arguments:
        size: number of images.
        seed: of the data.
        resolution: side in pixels.
        cache: folder for rendered images; None renders in memory.
        captions: give captions with the images.
        combinations: only images that show a pair of values that is held out, instead of only images that show none.
    """

    classes = {
        factor: {value: zero_shot_caption(factor, value) for value in values}
        for factor, values in FACTORS.items()
    }

    def __init__(self, size: int, seed: int, resolution: int = 64, cache: str | None = None, captions: bool = False, combinations: bool = False):
        self.resolution, self.cache = integer("data.resolution", resolution, 16, 1024), cache
        self.size, self.seed = integer("data.size", size, 1), seed
        self.captions, self.combinations = captions, combinations
        blocks = [self._block(block) for block in range(-(-self.size // BLOCK))]
        self.choices = np.concatenate(blocks)[:size]
        self.factors = factors_of(self.choices)
        self._images: np.ndarray | None = None

    def _block(self, block: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, block, int(self.combinations)])
        rows = np.empty((0, len(CHOICES)), int)
        while len(rows) < BLOCK:
            drawn = draw_choices(SPARE * BLOCK, rng)
            kept = shows_held_out(factors_of(drawn)) == self.combinations
            rows = np.concatenate([rows, drawn[kept]])
        return rows[:BLOCK]

    @property
    def images(self) -> np.ndarray:
        """All images, uint8, (N, H, W, 3); rendered when they are first asked for."""
        if self._images is None:
            kind = "combinations" if self.combinations else "portraits"
            name = f"{kind}-{VERSION}-{self.resolution}px-seed{self.seed}-{self.size}.npy"
            file = Path(self.cache) / name if self.cache else None
            self._images = render_all(file, kind, render_portraits, self.choices, self.resolution)
        return self._images

    def caption(self, index: int, variant: int = 0, named=None) -> str:
        """The caption of one image; every `variant` is another wording and, unless `named` says which, other factors."""
        return describe(self.factors[index], np.random.default_rng([self.seed, 1 + index, variant]), named)

    def class_of(self, index: int) -> str:
        """The expression of one image, as a class."""
        return FACTORS["expression"][self.factors[index][list(FACTORS).index("expression")]]

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, indices) -> dict:
        images = torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2)
        batch = {
            "image": images.to(torch.float32).div_(127.5).sub_(1),
            "factors": torch.from_numpy(self.factors[indices]),
        }
        if self.captions:
            variants = torch.randint(1 << 30, (len(indices),)).tolist()
            batch["caption"] = [self.caption(i, k) for i, k in zip(indices, variants)]
        return batch

    def __getitem__(self, index: int) -> dict:
        return {key: value[0] for key, value in self.__getitems__([index]).items()}
