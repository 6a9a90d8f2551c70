"""Several candidates for each sample, the likeliest of which goes on."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdg.diffusion.noise import Noise
from sdg.diffusion.noise_range import noise_fraction
from sdg.diffusion.sampler import Step
from sdg.diffusion.schedule import CLEAN
from sdg.guidance.guidance import Guidance

__all__ = ["Selection", "candidate_seeds"]


class Narrowed(NamedTuple):
    """What sampling goes on with: the candidates' rows that stay, their noise, their guidance."""

    rows: Tensor
    noise: Noise
    guide: Guidance


class Selection:
    """Best of K at a noise level, by what guides.

    Of K candidates for a sample, each guided from a noise of its own, the one goes on whose
    estimate of the clean image is most like what is asked for:

        argmax_j γ sim(x̂_0⁽ʲ⁾, y)   after the first step to a level s ≤ u (T−1)

    What an image shows is settled at high noise; a candidate that went wrong there is seldom mended
    later. It is read off x̂_0, not off x_s: guidance has climbed the similarity of the noisy images,
    so that it calls every candidate right. This is the greedy form of Feynman-Kac steering (Singhal
    et al. 2025, arXiv 2501.06848) with one resampling; the first candidate is the sample that would
    be without it.

    Arguments:
        wide: guidance of all candidates, K in a row for each sample; the pair (sample, candidate)
            has row K · sample + candidate.
        narrow: guidance of one candidate a sample.
        candidates: K.
        select_at: u, the place in the noise range where the choice is made, in [0, 1].
    """

    def __init__(self, wide: Guidance, narrow: Guidance, candidates: int, select_at: float):
        self.wide, self.narrow = wide, narrow
        self.candidates, self.select_at = candidates, select_at

    def due(self, s: float) -> bool:
        """Whether the choice is made at level s, or has been made before."""
        return noise_fraction(s, self.wide.schedule.T) <= self.select_at

    @torch.no_grad()
    def __call__(self, step: Step, noise: Noise) -> Narrowed:
        """Chooses after a step."""
        value = math.copysign(1, self.wide.gamma) * self.wide.similarity(step.x0, CLEAN)
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
