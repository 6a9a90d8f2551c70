"""Several candidates for each sample, the likeliest of which goes on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdg.diffusion.samplers import Noise, Step
from sdg.guidance.method import Bound, fraction

__all__ = ["Selection", "candidate_seeds"]


class Narrowed(NamedTuple):
    """What sampling goes on with: the candidates' rows that stay, their noise, their guidance."""

    rows: Tensor
    noise: Noise
    guide: Bound


class Selection:
    """Best of K at a noise level, by what guides.

    Of K candidates for a sample, drawn from noises of their own down to the first level with
    s ≤ u (T−1), the one goes on that is most like what is asked for,

        argmax_j sim(x_s⁽ʲ⁾, y),   of guidance that reads x̂_0: argmax_j sim(x̂_0⁽ʲ⁾, y)

    What an image shows is settled at high noise, and there a noise-aware encoder knows already
    whether a candidate has gone wrong, when gradients can no longer mend it. It is the greedy form
    of Feynman-Kac steering (Singhal et al. 2025, arXiv 2501.06848) with one resampling; the first
    candidate is the sample that would be without it.

    Arguments:
        wide: guidance of all candidates, K in a row for each sample; the pair (sample, candidate)
            has row K · sample + candidate.
        narrow: guidance of one candidate a sample.
        candidates: K.
        level: u, the place in the noise range where the choice is made, in [0, 1).
    """

    def __init__(self, wide: Bound, narrow: Bound, candidates: int, level: float):
        self.wide, self.narrow, self.candidates, self.level = wide, narrow, candidates, level

    def due(self, s: int) -> bool:
        """Whether the choice is made at level s, or has been made before."""
        return fraction(s, self.wide.schedule.T) <= self.level

    @torch.no_grad()
    def __call__(self, step: Step, s: int, noise: Noise) -> Narrowed:
        """Chooses after a step to level s ≥ 0."""
        at_clean = self.wide.method.at_clean
        value = self.wide.similarity(*((step.x0, -1) if at_clean else (step.x, s)))
        best = value.view(-1, self.candidates).argmax(1)
        rows = best + self.candidates * torch.arange(len(best), device=best.device)
        return Narrowed(rows, noise.rows(rows.tolist()), self.narrow)


def candidate_seeds(seeds: Sequence[int], candidates: int) -> list[int]:
    """The seed of every candidate, K in a row for each sample; the first has the sample's own."""
    every = []
    for seed in seeds:
        every.append(seed)
        for candidate in range(1, candidates):
            key = np.random.SeedSequence([seed, candidate])
            every.append(int(key.generate_state(1, np.uint64)[0] >> 1))
    return every
