"""The transformer of DiT as diffusers has it."""

from typing import Any

from torch import Tensor, nn

__all__ = ["DiffusersDiT"]


class DiffusersDiT(nn.Module):
    """A `DiTTransformer2DModel`, called as the class-conditional networks here are.

    Its frequencies of t are not those of `sdg.models.dit.DiT`, and it says another thing.

    Arguments:
        channels: of the images or latents that it reads.
        resolution: side of these.
        options: the other arguments of `DiTTransformer2DModel`.

    Attributes:
        classes, null_label: how many classes it knows, and the label of no class.
    """

    def __init__(self, channels: int, resolution: int, **options: Any):
        from diffusers import DiTTransformer2DModel

        super().__init__()
        build: Any = DiTTransformer2DModel  # whose decorators say no types
        self.network = build(in_channels=channels, sample_size=resolution, **options)
        self.classes = self.null_label = options["num_embeds_ada_norm"]

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        predicted: Tensor = self.network(x, timestep=t, class_labels=label).sample
        return predicted
