"""The noise that a batch of samples is drawn with, every sample from streams of its own."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["GUIDANCE_STREAM", "Noise", "NoiseSource"]

# Turns a sample's seed into that of its second stream, guidance's own: the sampler's noise is the
# same whatever guides, but for steps that are repeated, which draw theirs again.
GUIDANCE_STREAM = 0x5D6
THREAD = ThreadPoolExecutor(1, "noise")  # started by the first draw for a GPU


class NoiseSource(Protocol):
    """Standard normal draws of one batch, every sample from a stream of its own."""

    def __call__(self, stream: int = 0) -> Tensor:
        """The next draw of a stream, shape (B, C, H, W).

        Stream 0 is the sampler's, `GUIDANCE_STREAM` is guidance's: what guidance draws changes
        nothing in what the sampler draws. Steps that are repeated, and the noise put back between
        them, are the sampler's.
        """


class Noise:
    """Standard normal draws, every sample from a generator of its own.

    No sample depends on which others share its batch.

    The generators live on the CPU, whose stream is the same on every machine and for every device.

    Arguments:
        seeds: one integer per sample, at least 0.
        shape: of one sample, (C, H, W).
    """

    def __init__(
        self,
        seeds: Iterable[int],
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
    ):
        seeds = list(seeds)
        self.generators: dict[int, list[torch.Generator]] = {}
        for stream in (0, GUIDANCE_STREAM):
            streams = [torch.Generator().manual_seed(seed ^ stream) for seed in seeds]
            self.generators[stream] = streams
        self.shape, self.device = shape, torch.device(device)
        self.ahead: dict[int, Future[Tensor]] = {}

    def __call__(self, stream: int = 0) -> Tensor:
        """The next draw of the sampler's stream, 0, or of `GUIDANCE_STREAM`, shape (B, C, H, W)."""
        if self.device.type != "cuda":
            return self.draw(stream).to(self.device)
        # The next draw is made while the GPU computes, and nothing waits for its copy.
        drawn = self.ahead.get(stream) or THREAD.submit(self.draw, stream)
        noise = drawn.result().pin_memory()
        self.ahead[stream] = THREAD.submit(self.draw, stream)
        return noise.to(self.device, non_blocking=True)

    def draw(self, stream: int) -> Tensor:
        return torch.stack([torch.randn(self.shape, generator=g) for g in self.generators[stream]])

    def rows(self, rows: Sequence[int]) -> "Noise":
        """The sources of these samples, which go on where they are."""
        chosen = Noise((), self.shape, self.device)
        for stream, generators in self.generators.items():
            chosen.generators[stream] = [generators[row] for row in rows]
        for stream, drawn in self.ahead.items():
            chosen.ahead[stream] = THREAD.submit(drawn.result().__getitem__, list(rows))
        return chosen
