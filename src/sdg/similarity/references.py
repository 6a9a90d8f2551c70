"""The images that samples shall be like, noised to where the similarity looks."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sdg.diffusion.schedule import Schedule

__all__ = ["References"]


class References:
    """x'_s ~ q(x_s | x'), with noise keyed on the run's seed, the image and the level.

    All samples of a reference share its noise at a step, and no sample depends on which others
    share its batch.

    Arguments:
        images: {name: image (3, H, W) in [-1, 1]}.
        schedule: the denoiser's.
        seed: of the run.
    """

    def __init__(self, images: Mapping[str, Tensor], schedule: Schedule, seed: int):
        self.images, self.schedule, self.seed = dict(images), schedule, seed
        self.keys = {
            name: zlib.crc32(image.contiguous().numpy().tobytes())
            for name, image in self.images.items()
        }

    def at(self, names: Sequence[str], level: float) -> Tensor:
        """These references at one of the denoiser's levels, (R, 3, H, W).

        −1 gives the images themselves.
        """
        images = torch.stack([self.images[name] for name in names])
        if level < 0:
            return images
        noise = torch.stack([self.noise(name, level) for name in names])
        return self.schedule.q_sample(images, level, noise)

    def noise(self, name: str, level: float) -> Tensor:
        """ε of one reference at one level, (3, H, W)."""
        own = level if isinstance(level, int) else round(level * 2**20)  # a real one, as a seed
        sequence = np.random.SeedSequence([self.seed, self.keys[name], own])
        seed = int(sequence.generate_state(1, np.uint64)[0] >> 1)
        return torch.randn(self.images[name].shape, generator=torch.Generator().manual_seed(seed))
