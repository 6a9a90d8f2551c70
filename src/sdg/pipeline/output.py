"""What a pipeline returns."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from sdg.data.image import to_uint8
from sdg.diffusion.sampler import Step

__all__ = ["SampleOutput", "joined_steps"]


@dataclass(repr=False)
class SampleOutput:
    """Samples.

    Attributes:
        tensors: (N, 3, H, W), in [-1, 1], on the CPU.
        prompts: what each was asked for; None where no sentence was.
        seeds: of each sample's noise.
        trajectory: x_s and x̂_0 after every step, (N, 3, H, W) each, if they were asked for.
    """

    tensors: Tensor
    prompts: list[str | None]
    seeds: list[int]
    trajectory: list[Step] = field(default_factory=list)

    def __repr__(self) -> str:
        count, _, height, width = self.tensors.shape
        kept = f", trajectory of {len(self.trajectory)} steps" if self.trajectory else ""
        return f"SampleOutput({count} × {height} × {width} pixels{kept})"

    @property
    def images(self) -> list[Image.Image]:
        """The samples as pictures."""
        return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in to_uint8(self.tensors)]


def joined_steps(batches: Sequence[Sequence[Step]]) -> list[Step]:
    """The steps of all samples, from those of each batch."""
    joined = []
    for steps in zip(*batches, strict=True):
        x, x0 = zip(*steps, strict=True)
        joined.append(Step(torch.cat(x), torch.cat(x0)))
    return joined
