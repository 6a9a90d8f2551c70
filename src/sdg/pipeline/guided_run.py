"""What all batches of a run share, and how one of them is drawn."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sdg.data.requests import Request
from sdg.diffusion.noise import Noise
from sdg.diffusion.sampler import Sampler
from sdg.diffusion.sampling import sample, steps_taken
from sdg.guidance.guidance import Guidance, SimilarityFn
from sdg.guidance.selection import Selection, candidate_seeds
from sdg.pipeline.batches import OnStep
from sdg.pipeline.parts import Parts
from sdg.pipeline.terms import total_similarity
from sdg.similarity import Similarity

__all__ = ["GuidedRun"]


@dataclass(eq=False)
class GuidedRun:
    """Guided sampling without its batches: `Pipeline` and the commands both draw through it.

    Arguments:
        parts: the networks.
        sampler: one of `sdg.diffusion.samplers`, or of your own.
        guidance: how the similarity steers.
        similarity: of the whole run; None for an unguided one, or one by functions only.
        functions: further similarities, which are asked the same of every sample.
        start: an image (3, H, W) that every sample starts from; None is pure noise.
        strength: with `start`, how far from it, in (0, 1].
    """

    parts: Parts
    sampler: Sampler
    guidance: Guidance
    similarity: Similarity | None = None
    functions: Sequence[SimilarityFn] = ()
    start: Tensor | None = None
    strength: float = 1.0

    @property
    def steps(self) -> list[tuple[int, int]]:
        """The steps (t, s) that each batch takes."""
        share = 1.0 if self.start is None else self.strength
        return steps_taken(self.parts.denoiser.schedule, self.sampler, share)

    def draw(self, batch: Sequence[Request], on_step: OnStep) -> Tensor:
        """One batch: (B, 3, H, W) in [-1, 1]."""
        guide = self.guide(batch)
        seeds = [request.seed for request in batch]
        selection: Selection | None = None
        if isinstance(guide, Selection):
            selection, guide = guide, guide.wide
            seeds = candidate_seeds(seeds, selection.candidates)
        parts = self.parts
        noise = Noise(seeds, parts.shape, parts.device)
        start = None
        if self.start is not None:
            start = self.start.to(parts.device).expand(len(seeds), *parts.shape)
        mixed = parts.dtype != torch.float32
        precision = torch.autocast(parts.device.type, parts.dtype) if mixed else None
        with precision or contextlib.nullcontext():
            return sample(
                *(parts.denoiser, self.sampler, noise, guide),
                *(start, self.strength, on_step, selection),
            )

    def guide(self, batch: Sequence[Request]) -> Guidance | Selection | None:
        """Guidance of one batch, with several candidates for each sample their selection."""
        guidance = self.guidance
        if not guidance.gamma or (self.similarity is None and not self.functions):
            return None
        if guidance.candidates == 1:
            return self.prepare(batch)
        candidates = [request for request in batch for _ in range(guidance.candidates)]
        wide, narrow = self.prepare(candidates), self.prepare(batch)
        assert wide is not None and narrow is not None  # γ is not 0
        return Selection(wide, narrow, guidance.candidates, guidance.select_at)

    def prepare(self, requests: Sequence[Request]) -> Guidance | None:
        """Guidance with the similarity to what these requests ask for."""
        parts = self.parts
        total = total_similarity(self.similarity, self.functions, requests, parts.device)
        return self.guidance.prepare(total, parts.denoiser.schedule, self.sampler)
