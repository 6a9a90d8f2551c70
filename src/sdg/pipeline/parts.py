"""The networks of a pipeline: which they are, where they are, and how precisely they compute."""

import itertools
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError, choice, integer
from sdg.models.autoencoder import Autoencoder
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.pipeline.argument_checks import checked_device, checked_kind
from sdg.pipeline.part_checks import check_parts, check_space

__all__ = ["Parts"]

Own = TypeVar("Own", bound="Parts")


class Parts:
    """A denoiser, an encoder, a CLIP and an autoencoder that belong together, in eval mode.

    Arguments:
        denoiser, encoder, clip, resolution, autoencoder: as of `Pipeline`.

    Raises:
        UserError: they do not belong together.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        encoder: ImageEncoder | None,
        clip: TextEncoder | None,
        resolution: int | None,
        autoencoder: Autoencoder | None = None,
    ):
        self.denoiser = checked_kind("denoiser", denoiser, Denoiser)
        self.encoder = None if encoder is None else checked_kind("encoder", encoder, ImageEncoder)
        self.clip = None if clip is None else checked_kind("clip", clip, TextEncoder)
        if resolution is not None:
            integer("resolution", resolution, 1)
        if autoencoder is not None:
            checked_kind("autoencoder", autoencoder, Autoencoder)
        check_space(denoiser, encoder, autoencoder)
        if autoencoder is not None:
            autoencoder = autoencoder.with_affine(denoiser.latent_affine)
        self.autoencoder = autoencoder
        self.factor = 1 if autoencoder is None else autoencoder.factor
        own = None if encoder is None else encoder.resolution
        of_latents = encoder is not None and encoder.latent_channels is not None
        if own is not None and of_latents:
            own *= self.factor
        drawn = denoiser.resolution and denoiser.resolution * self.factor
        self.resolution = resolution or drawn or own
        if self.resolution and self.resolution % self.factor:
            raise UserError(
                f"resolution={self.resolution} must be a multiple of {self.factor}, by which the "
                "autoencoder makes images smaller."
            )
        seen = self.resolution
        check_parts(encoder, clip, seen // self.factor if seen and of_latents else seen)
        if encoder is not None:
            encoder.attach(denoiser.passes[0])
        for part in self.parts:
            if isinstance(part, nn.Module):
                part.eval()
        self.place, self.dtype = torch.device("cpu"), torch.float32

    @property
    def parts(self) -> list[Denoiser | ImageEncoder | TextEncoder | Autoencoder]:
        """The networks: denoiser, encoder, CLIP, autoencoder."""
        every = (self.denoiser, self.encoder, self.clip, self.autoencoder)
        return [part for part in every if part is not None]

    @property
    def device(self) -> torch.device:
        """Where the denoiser is; of one without weights, where the pipeline was moved."""
        tensors = itertools.chain(self.denoiser.parameters(), self.denoiser.buffers())
        first = next(tensors, None)
        return self.place if first is None else first.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of a sample, (C, H, W)."""
        if self.resolution is None:
            raise UserError(
                "how large are the samples? Neither the denoiser nor an encoder says: "
                "Pipeline(…, resolution=64)."
            )
        return 3, self.resolution, self.resolution

    @property
    def sampled_shape(self) -> tuple[int, int, int]:
        """The shape of what the denoiser moves: of a sample, or of its latents, (C, h, w)."""
        side = self.shape[-1] // self.factor
        return self.denoiser.channels if self.autoencoder else 3, side, side

    def latents(self, image: Tensor) -> Tensor:
        """What the denoiser moves of an image (3, H, W): its latents (C, h, w), or itself."""
        if self.autoencoder is None:
            return image
        with torch.no_grad():
            return self.autoencoder.encode(image[None].to(self.device))[0].cpu()

    def pictures(self, samples: Tensor) -> Tensor:
        """The images (B, 3, H, W) of what the denoiser moves; of latents in [-1, 1]."""
        if self.autoencoder is None:
            return samples
        with torch.no_grad():
            return self.autoencoder.decode(samples).clamp(-1, 1)

    def compile(self: Own, **options: Any) -> Own:
        """Compiles the denoisers' networks and the encoders' towers, forward and backward.

        The first batch of each size then takes from seconds to minutes; it pays in long runs on a
        GPU. `torch.compile` keeps what it made, so that a later process compiles quicker.

        Arguments:
            options: of `torch.compile`.
        """
        for denoiser in self.denoiser.passes:
            denoiser.network.compile(**options)
        for part in self.parts:
            if isinstance(part, ImageEncoder):
                part.tower.compile(**options)
        return self

    def to(
        self: Own,
        device: str | torch.device | torch.dtype | None = None,
        dtype: torch.dtype | None = None,
    ) -> Own:
        """Moves the networks: `to("cuda")`, `to(torch.bfloat16)`, `to("cuda", torch.bfloat16)`.

        With the dtype bfloat16 or float16 they run under autocast, but for the encoder in float16,
        in which its gradient would underflow. Samples, similarities and gradients are float32.

        Arguments:
            device: where to; None leaves them where they are. A dtype may stand here too.
            dtype: torch.float32, torch.bfloat16 or torch.float16; None leaves it as it is.

        Raises:
            UserError: there is no such device, another dtype, or there are two dtypes.
        """
        if isinstance(device, torch.dtype):
            if dtype is not None:
                raise UserError(f"device must be a device, not {device}, beside dtype {dtype}.")
            device, dtype = None, device
        if device is not None:
            self.place = checked_device(device)
            for part in self.parts:
                part.to(self.place)
        if dtype is not None:
            self.dtype = choice("dtype", dtype, (torch.float32, torch.bfloat16, torch.float16))
        return self
