"""The embedded data: one anti-aliased object per image, every attribute of it known.

Five factors (shape, colour, pattern, size, background) are drawn uniformly; position and a small
rotation are free. Because the truth is known, "does the sample show what the sentence says" can be
measured.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdg.data.captions import FACTORS, all_named, describe, zero_shot_caption
from sdg.data.image_set import ImageSet
from sdg.data.rendered import rendered
from sdg.data.shape_drawing import Placement, render, render_masks
from sdg.errors import integer

__all__ = ["Shapes"]

BLOCK = 500  # images that share one random generator: a data set is a prefix of every larger one


def plain_captions(factor: str) -> dict[str, str]:
    """{value: its plainest caption} of one factor."""
    return {value: zero_shot_caption(factor, value) for value in FACTORS[factor]}


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
    classes = {factor: plain_captions(factor) for factor in FACTORS}

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

    def _cached(self, name: str, draw: Callable[..., np.ndarray]) -> np.ndarray:
        """What `draw` gives for every image, from the cache's file if there is one."""

        def draw_blocks() -> np.ndarray:
            sizes = [min(BLOCK, self.size - start) for start in range(0, self.size, BLOCK)]
            return np.concatenate(
                [
                    draw(factors[:n], placement.first(n), self.resolution)
                    for n, (factors, placement) in zip(sizes, self._blocks(), strict=True)
                ]
            )

        place = f"shapes-2-{self.resolution}px-seed{self.seed}-{self.size}{name}.npy"
        file = Path(self.cache) / place if self.cache else None
        return rendered(file, self.size, draw_blocks)

    def _blocks(self) -> list[tuple[np.ndarray, Placement]]:
        return [self._block(b) for b in range(-(-self.size // BLOCK))]

    def _block(self, block: int) -> tuple[np.ndarray, Placement]:
        rng = np.random.default_rng([self.seed, block])
        factors = [rng.integers(len(values), size=BLOCK) for values in FACTORS.values()]
        return np.stack(factors, 1), Placement.draw(BLOCK, rng)

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

    def class_name(self, index: int) -> str:
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
            free = [rng.integers(len(values)) for values in FACTORS.values()]
            shown = np.where(wanted < 0, free, wanted)[None]
            parts.append(render(shown, Placement.draw(1, rng), self.resolution))
        images = np.concatenate(parts)
        return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        images = torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2)
        batch: dict[str, Any] = {
            "image": images.to(torch.float32).div_(127.5).sub_(1),
            "factors": torch.from_numpy(self.factors[indices]),
        }
        if self.masks is not None:
            batch["mask"] = torch.from_numpy(self.masks[indices])
        if self.captions:
            variants = torch.randint(1 << 30, (len(indices),)).tolist()
            batch["caption"] = [self.caption(i, k) for i, k in zip(indices, variants, strict=True)]
        return batch
