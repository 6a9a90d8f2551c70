"""The networks of a pipeline: which they are, where they are, and how precisely they compute."""

import itertools
from typing import Any, TypeVar

import torch
from torch import nn

from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError, choice, integer
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.pipeline.part_checks import check_parts, checked_device, checked_kind

__all__ = ["Parts"]

Own = TypeVar("Own", bound="Parts")


class Parts:
    """A denoiser, an encoder and a CLIP that belong together, in eval mode.

    Arguments:
        denoiser, encoder, clip, resolution: as of `Pipeline`.

    Raises:
        UserError: they do not belong together.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        encoder: ImageEncoder | None,
        clip: TextEncoder | None,
        resolution: int | None,
    ):
        self.denoiser = checked_kind("denoiser", denoiser, Denoiser)
        self.encoder = None if encoder is None else checked_kind("encoder", encoder, ImageEncoder)
        self.clip = None if clip is None else checked_kind("clip", clip, TextEncoder)
        if resolution is not None:
            integer("resolution", resolution, 1)
        own = None if encoder is None else encoder.resolution
        self.resolution = resolution or denoiser.resolution or own
        check_parts(encoder, clip, self.resolution)
        if encoder is not None:
            encoder.attach(denoiser)
        for part in self.parts:
            if isinstance(part, nn.Module):
                part.eval()
        self.place, self.dtype = torch.device("cpu"), torch.float32

    @property
    def parts(self) -> list[Denoiser | ImageEncoder | TextEncoder]:
        """The networks: denoiser, encoder, CLIP."""
        every = (self.denoiser, self.encoder, self.clip)
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

    def compile(self: Own, **options: Any) -> Own:
        """Compiles the denoiser's network and the encoders' towers, forward and backward.

        The first batch of each size then takes from seconds to minutes; it pays in long runs on a
        GPU. `torch.compile` keeps what it made, so that a later process compiles quicker.

        Arguments:
            options: of `torch.compile`.
        """
        self.denoiser.network.compile(**options)
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
