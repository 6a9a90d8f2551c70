"""What a similarity may read of images: pixels, noise level, embedding, stages."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sdg.errors import UserError
from sdg.models.stages import Encoded

__all__ = ["NoisyImages"]


@dataclass(eq=False)
class NoisyImages:
    """Images at one noise level.

    The encoder is run when something that comes from it is first read, and once.

    Arguments:
        pixels: x, (B, 3, H, W), in [-1, 1] before noise.
        level: of the denoiser's schedule, 0 … T−1; −1 for images without noise.
        encode: gives the encoder's output for them.
        precision: what the encoder runs in.
    """

    pixels: Tensor
    level: int
    encode: Callable[[], Encoded]
    precision: torch.autocast

    @cached_property
    def encoded(self) -> Encoded:
        """Embeddings and maps in float32 or more, in one pass of the encoder."""
        with self.precision:
            encoded = self.encode()
        return encoded.at_least_float32()

    @property
    def z(self) -> Tensor:
        """Unit embeddings E(x, t), (B, D)."""
        return self.encoded.z

    @property
    def scaled(self) -> Tensor:
        """A calibrated encoder's embeddings at their own length, (B, D).

        Raises:
            UserError: the encoder is another one.
        """
        if self.encoded.scaled is None:
            raise UserError(
                "a term was made with a calibrated encoder, and another one reads the images; make "
                "it with the one that reads them: of a method that reads x̂_0, the clean CLIP."
            )
        return self.encoded.scaled

    @property
    def logits(self) -> Tensor | None:
        """A classifier's logits of all its classes, (B, K); None of others."""
        return self.encoded.logits

    @property
    def maps(self) -> dict[str, Tensor]:
        """{stage: (B, C, H, W) or (B, C, tokens)} of the stages that the run's terms name."""
        return self.encoded.maps
