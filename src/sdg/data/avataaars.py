"""The style avataaars (Pablo Stanley; free for personal and commercial use), curated by hand."""

import numpy as np

from sdg.data import portrait_captions, portrait_factors
from sdg.data.dicebear import credit, render
from sdg.data.portrait_style import PortraitStyle

__all__ = ["Avataaars"]


class Avataaars(PortraitStyle):
    """Eleven factors that a person tells apart at 64 pixels, of ten choices."""

    name = "avataaars"
    factors = portrait_factors.FACTORS
    choices = portrait_factors.CHOICES
    held_out_pairs = portrait_factors.HELD_OUT_PAIRS
    class_factor = "expression"

    def factors_of(self, choices: np.ndarray) -> np.ndarray:
        return portrait_factors.factors_of(choices)

    def options_of(self, row: np.ndarray) -> dict:
        return portrait_factors.options_of(row)

    def render(self, choices: np.ndarray, resolution: int) -> np.ndarray:
        return np.stack([render(self.name, self.options_of(row), resolution) for row in choices])

    def describe(self, factors, rng: np.random.Generator, named=None) -> str:
        return portrait_captions.describe(factors, rng, named)

    def all_named(self, caption: str) -> dict[str, set[int]]:
        return portrait_captions.all_named(caption)

    def zero_shot_caption(self, factor: str, value: str) -> str:
        return portrait_captions.zero_shot_caption(factor, value)

    def credits(self) -> list[str]:
        return [credit(self.name)]
