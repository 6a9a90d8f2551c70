"""Cartoon portraits of DiceBear's styles, every attribute known; by default avataaars."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdg.data.class_names import name_in
from sdg.data.image_set import ImageSet
from sdg.data.portrait_styles import portrait_style, print_credits
from sdg.data.rendering import render_all
from sdg.errors import UserError, choice, integer

__all__ = ["Portraits", "render_portraits"]

VERSION = 1  # of what is drawn for one seed; another is another cache
BLOCK = 500  # images that share one random generator: a data set is a prefix of every larger one
SPARE = 4  # times as many rows are drawn, from which those that may be shown are taken
PROMPTED = 4  # factors that a held-out prompt names by default
REDRAWN = 100  # times that an image with a held-out pair is drawn again
MATCHING = 1 << 31  # of the random numbers of `render_matching`: no block has that index


def render_portraits(
    choices: np.ndarray, resolution: int, style: str | Sequence[str] = "avataaars"
) -> np.ndarray:
    """Draws one portrait for each row of choices, (N, C): uint8, (N, resolution, resolution, 3)."""
    return portrait_style(style).render(choices, resolution)


class Portraits(ImageSet):
    """Portraits with their factors; rendered at first use, then memory-mapped from a cache.

    Items, fetched a batch at a time, are dictionaries: `image` float (B, 3, H, W) in [-1, 1],
    `factors` integers (B, F), −1 for what is not there, and with `captions` a list of B sentences,
    `caption`, worded anew each time. With `hard_negatives` they also hold `negatives`, B lists of
    so many captions that are wrong in one value.

    Arguments:
        size: number of images.
        seed: of the data.
        resolution: side in pixels.
        cache: folder for rendered images; None renders in memory.
        captions: give captions with the images.
        hard_negatives: captions that are nearly right, given with each.
        combinations: only images that show a pair of values that is held out, instead of only
            images that show none.
        style: of DiceBear, or several; several have a factor `artist`.

    Attributes:
        attributes: {factor: its values}, in the order of the columns of `factors`.
        choices: what is drawn, integers (N, C).
        factors: what that shows, integers (N, F).
        classes: {factor: {value: its plainest caption}}.

    Raises:
        UserError: no such style, its options have no names, or an argument is out of range.
    """

    has_captions = True

    def __init__(
        self,
        size: int,
        seed: int,
        resolution: int = 64,
        cache: str | None = None,
        captions: bool = False,
        combinations: bool = False,
        style: str | Sequence[str] = "avataaars",
        hard_negatives: int = 0,
    ):
        self.resolution, self.cache = integer("data.resolution", resolution, 16, 1024), cache
        self.size, self.seed = integer("data.size", size, 1), seed
        self.captions, self.combinations = captions, combinations
        self.hard_negatives = integer("data.hard_negatives", hard_negatives, 0)
        self.style = portrait_style(style)
        self.attributes: dict[str, tuple[str, ...]] = self.style.factors
        self.classes = {factor: self.zero_shot_captions(factor) for factor in self.attributes}
        if combinations and not self.style.held_out_pairs:
            raise UserError(
                f"data.style={self.style.name} has too few factors to hold out pairs; "
                "use data.split=held_out."
            )
        blocks = [self._block(block) for block in range(-(-self.size // BLOCK))]
        self.choices = np.concatenate(blocks)[:size]
        self.factors = self.style.factors_of(self.choices)
        self._images: np.ndarray | None = None

    def zero_shot_captions(self, factor: str) -> dict[str, str]:
        """{value: the plainest caption} of one factor."""
        return {v: self.style.zero_shot_caption(factor, v) for v in self.attributes[factor]}

    def _block(self, block: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, block, int(self.combinations)])
        kept: list[np.ndarray] = []
        while sum(map(len, kept)) < BLOCK:
            drawn = self.style.draw(SPARE * BLOCK, rng)
            shown = self.style.shows_held_out(self.style.factors_of(drawn))
            kept.append(drawn[shown == self.combinations])
        return np.concatenate(kept)[:BLOCK]

    @property
    def images(self) -> np.ndarray:
        """All images, uint8, (N, H, W, 3); rendered when they are first asked for."""
        if self._images is None:
            kind = "combinations" if self.combinations else "portraits"
            style = "" if self.style.name == "avataaars" else f"-{self.style.key}"
            place = f"{self.resolution}px-seed{self.seed}-{self.size}.npy"
            file = Path(self.cache) / f"{kind}-{VERSION}{style}-{place}" if self.cache else None
            if file is None or not file.exists():
                print_credits(self.style)
            options = self.resolution, self.style.name.split("+")
            self._images = render_all(file, kind, render_portraits, self.choices, *options)
        return self._images

    def render_matching(self, factors: np.ndarray, keys: Sequence[int]) -> torch.Tensor:
        """New images that show these factors, (N, F), −1 free: (N, 3, H, W) in [-1, 1].

        Arguments:
            keys: of the N images; what chance decides follows from the seed and an image's own.

        Raises:
            UserError: no portrait shows such factors together.
        """
        factors = np.asarray(factors)
        held_out = self.style.shows_held_out(factors) if len(factors) else np.empty(0, bool)
        rows = [
            self.matching(wanted, key, allowed or self.combinations)
            for wanted, key, allowed in zip(factors, keys, held_out, strict=True)
        ]
        print_credits(self.style)
        images = self.style.render(np.stack(rows), self.resolution)
        return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)

    def matching(self, wanted: np.ndarray, key: int, held_out: bool) -> np.ndarray:
        """Choices that show the wanted factors, (F,).

        Like all images of these, they show no held-out pair.

        Arguments:
            held_out: allow such pairs.
        """
        rng = np.random.default_rng([self.seed, MATCHING, key])
        for _ in range(REDRAWN):
            row = self.style.matching(wanted, rng)
            if held_out or not self.style.shows_held_out(self.style.factors_of(row[None]))[0]:
                break
        return row

    def all_named(self, caption: str) -> dict[str, set[int]]:
        """The factors that a caption names, and all their values.

        Raises:
            UserError: a word that these captions never use.
        """
        return self.style.all_named(caption)

    def prompt_factors(self, index: int) -> list[str]:
        """What a prompt about one image names by default: its held-out pair, or four factors."""
        if self.combinations:
            pair = self.style.pairs_shown(self.factors[index : index + 1])[0].argmax()
            return [factor for factor, _ in self.style.held_out_pairs[pair]]
        return self.some_factors(index, PROMPTED)

    def some_factors(self, index: int, count: int) -> list[str]:
        """So many factors of what is there in one image, or all, always the same ones."""
        there = [
            factor for factor, v in zip(self.attributes, self.factors[index], strict=True) if v >= 0
        ]
        rng = np.random.default_rng([self.seed, 1 + index])
        return [there[i] for i in rng.permutation(len(there))[:count]]

    def caption(self, index: int, variant: int = 0, named=None) -> str:
        """The caption of one image.

        Arguments:
            variant: another is another wording and, unless `named` says which, other factors.
            named: names of the factors to mention, of which those that are not there are left out;
                or how many.

        Raises:
            UserError: `named` has a factor that these portraits do not have.
        """
        if isinstance(named, int):
            named = self.some_factors(index, integer("named", named, 1, len(self.attributes)))
        for factor in named or ():
            choice("named", factor, list(self.attributes))
        rng = np.random.default_rng([self.seed, 1 + index, variant])
        return self.style.describe(self.factors[index], rng, named)

    def class_name(self, index: int) -> str:
        """The class of one image: its expression, or with several styles its artist."""
        factor = self.style.class_factor
        value = self.factors[index][list(self.attributes).index(factor)]
        return name_in(self.attributes, factor, self.attributes[factor][value])

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        images = torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2)
        batch: dict[str, Any] = {
            "image": images.to(torch.float32).div_(127.5).sub_(1),
            "factors": torch.from_numpy(self.factors[indices]),
        }
        if self.captions:
            variants = torch.randint(1 << 30, (len(indices),)).tolist()
            batch["caption"] = [self.caption(i, k) for i, k in zip(indices, variants, strict=True)]
            if self.hard_negatives:
                rows = zip(indices, batch["caption"], variants, strict=True)
                batch["negatives"] = [self.negatives(i, caption, k) for i, caption, k in rows]
        return batch

    def negatives(self, index: int, caption: str, variant: int) -> list[str]:
        """Captions of an image that name what its `caption` names, one value of it wrong."""
        rng = np.random.default_rng([self.seed, 1 + index, variant, 1])
        names = [factor for factor in self.attributes if factor in self.all_named(caption)]
        wrong = []
        for _ in range(self.hard_negatives):
            row = with_one_changed(self.factors[index], names, self.attributes, rng)
            wrong.append(self.style.describe(row, rng, names))
        return wrong


def with_one_changed(
    factors: np.ndarray,
    names: Sequence[str],
    attributes: Mapping[str, Sequence[str]],
    rng: np.random.Generator,
) -> np.ndarray:
    """Factors, (F,), one of those in `names` with another of its values."""
    changed = factors.copy()
    column = list(attributes).index(names[int(rng.integers(len(names)))])
    count = len(attributes[list(attributes)[column]])
    changed[column] = (changed[column] + rng.integers(1, count)) % count
    return changed
