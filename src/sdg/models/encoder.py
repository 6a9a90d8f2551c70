"""What guidance needs of an image encoder and of a text encoder."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from sdg.diffusion.denoiser import Denoiser
from sdg.models.stages import Encoded, stages

__all__ = ["Encoders", "ImageEncoder", "TextEncoder"]


class ImageEncoder(ABC, nn.Module):
    """E(x_t, t): images into a space of embeddings, differentiable in x_t.

    Attributes:
        tower: the network that every image passes once in `encode`; its passes and floating-point
            operations are counted.
        resolution: side in pixels of the images that it reads; None for any.
        latent_channels: those of the latents that it reads in the place of images, with
            `resolution` a side of them; None where it reads images.
        autoencoder_digest: of the autoencoder whose latents it has learned; None where nobody says.
        calibrated: whether `Encoded.scaled` is given, and its product with E_text(y) a logit of y.
        reads_estimate: whether it reads the denoiser's x̂_0 beside x_t; `attach` has to come first
            then.
        notice: a line about the licence and the limits of weights that others published.
    """

    tower: nn.Module
    resolution: int | None = None
    latent_channels: int | None = None
    autoencoder_digest: str | None = None
    calibrated: bool = False
    reads_estimate: bool = False
    notice: str = ""

    @abstractmethod
    def encode(self, x: Tensor, t: Tensor, stages: Sequence[str] = ()) -> Encoded:
        """Embeddings of images, and the maps of some stages.

        Arguments:
            x: images (B, 3, H, W); in [-1, 1] before noise.
            t: their levels in this encoder's own schedule, integers (B,); a clean encoder leaves
                them alone.
            stages: of `stage_names`.

        Returns:
            unit embeddings (B, D), {stage: map (B, C, H, W) or (B, C, tokens)}, and what only some
            encoders give.
        """

    def attach(self, denoiser: Denoiser) -> None:
        """Gives the encoder the denoiser beside which it reads; most need none."""

    @property
    def schedule(self) -> dict[str, Any] | None:
        """The schedule that t refers to, as arguments of `Schedule`; None for a clean encoder."""
        return None

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages whose maps `encode` can give, from image to embedding."""
        return tuple(stages(self.tower))

    @property
    def cosine_scale(self) -> float:
        """c, such that c · cos(E(x), E(y)) is a logit: a CLIP's learned `logit_scale`."""
        return 1.0

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        """{factor: its classes} of a classifier, in the order of `Encoded.logits`."""
        return {}

    @property
    def any_size(self) -> bool:
        """Whether images may have another size than `resolution`."""
        return self.resolution is None


@runtime_checkable
class TextEncoder(Protocol):
    """E_text(y): sentences into the space of an image encoder."""

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Unit embeddings (N, D) of N sentences."""

    def to(self, device: torch.device, /) -> object:
        """Moves its weights, as `nn.Module.to` does."""


class Encoders(NamedTuple):
    """An image encoder, and the text encoder of the same space; None where there is none."""

    image: ImageEncoder
    text: TextEncoder | None = None
