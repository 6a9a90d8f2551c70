"""Images as latents and back, by an autoencoder of diffusers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sdg.errors import UserError, choice
from sdg.io.diffusers_autoencoder import AUTOENCODER_NETWORKS, digest_of_latents
from sdg.io.diffusers_network import network_options

__all__ = [
    "Autoencoder",
    "Reconstruction",
    "build_autoencoder",
    "latents_of",
    "new_autoencoder",
]


class Reconstruction(NamedTuple):
    """Images through the bottleneck, and q(z | x) = N(mean, e^log_variance) of the raw latents.

    Attributes:
        images: D of a latent of q(z | x), (B, 3, H, W).
        mean, log_variance: (B, C, h, w).
    """

    images: Tensor
    mean: Tensor
    log_variance: Tensor


class Autoencoder(nn.Module):
    """z = (E(x) − shift) · scale and x = D(z/scale + shift).

    That is latent diffusion's (Rombach et al. 2022, arXiv 2112.10752). Shift and scale are those of
    the network's config, or of a denoiser that was trained on latents with its own. E of an
    `AutoencoderKL` is the mean of its posterior; D of a `VQModel` takes the nearest code. Both run
    in the precision of the network's weights, also under autocast, since D of published models
    overflows float16: of a pipeline in half precision give `pipe.vae.float()` if it does. What they
    return has the dtype of what they are given.

    Arguments:
        network: an `AutoencoderKL`, an `AutoencoderTiny` or a `VQModel` of diffusers, for RGB
            images.
        affine: (shift, scale) of each channel, instead of the config's.

    Attributes:
        channels: C of the latents.
        factor: a side of the image in pixels is so many times a side of its latents.

    Raises:
        UserError: it is another network, or one of other images, or its config scales each channel
            by itself, or `affine` is of other latents.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, affine: Sequence[Sequence[float]] | None = None):
        super().__init__()
        name = choice("the autoencoder", type(network).__name__, AUTOENCODER_NETWORKS)
        options: Any = network.config  # a dictionary of diffusers
        if (options["in_channels"], options["out_channels"]) != (3, 3):
            raise UserError(
                f"this {name} reads images of {options['in_channels']} channels; one of RGB "
                "images is needed."
            )
        if options.get("latents_mean") is not None or options.get("latents_std") is not None:
            raise UserError(
                f"this {name} scales each channel of its latents by itself (latents_mean, "
                "latents_std), which is not known here."
            )
        self.network = network
        self.network_name = name
        self.affine = affine
        self.channels: int = options["latent_channels"]
        if name == "VQModel":  # its latents are what the codebook is asked for
            self.channels = options["vq_embed_dim"] or self.channels
        if affine is None:
            affine = [options.get("shift_factor") or 0.0], [options["scaling_factor"]]
        elif {len(numbers) for numbers in affine} != {self.channels}:
            raise UserError(
                f"the denoiser shifts and scales latents of {len(affine[0])} channels, the "
                f"autoencoder has {self.channels}; give the one that the denoiser was trained with."
            )
        weight = next(network.parameters(), None)
        device = None if weight is None else weight.device
        for key, numbers in zip(("shift", "scale"), affine, strict=True):
            values = torch.tensor(numbers, device=device).view(1, -1, 1, 1)
            self.register_buffer(key, values, persistent=False)
        tiny = name == "AutoencoderTiny"
        widths = options["encoder_block_out_channels" if tiny else "block_out_channels"]
        self.factor = 2 ** (len(widths) - 1)

    def with_affine(self, affine: Sequence[Sequence[float]] | None) -> "Autoencoder":
        """The same network with (shift, scale) of each channel; itself where there is none."""
        return self if affine is None else Autoencoder(self.network, affine).eval()

    @property
    def config(self) -> dict[str, Any]:
        """Plain JSON from which `build_autoencoder` makes it."""
        return {
            "network": type(self.network).__name__,
            "options": network_options(self.network),
        }

    @property
    def latents_digest(self) -> str | None:
        """What tells its latents from those of another; None where nothing does.

        The same network with another shift or scale has other latents.
        """
        options: Any = self.network.config
        tensors = self.network.state_dict()
        return digest_of_latents(type(self.network).__name__, options, tensors, self.affine)

    def cast(self, x: Tensor) -> Tensor:
        """x in the type of the network's weights."""
        weight = next(self.network.parameters(), None)
        return x if weight is None else x.to(weight.dtype)

    @property
    def decoder(self) -> nn.Module:
        """The network that every decoded image passes."""
        decoder: nn.Module = self.network.decoder  # type: ignore[assignment]  # of diffusers
        return decoder

    def forward(self, x: Tensor, noise: Tensor) -> Reconstruction:
        """D(mean + σ ε) of an `AutoencoderKL`, as it is trained: under autocast if there is some.

        Arguments:
            x: images in [-1, 1], (B, 3, H, W).
            noise: ε, (B, C, h, w).
        """
        network: Any = self.network
        posterior = network.encode(x).latent_dist
        z = posterior.mean + posterior.std * noise
        return Reconstruction(network.decode(z).sample, posterior.mean, posterior.logvar)

    def rescale(self, scale: float, shift: float) -> None:
        """Gives it another scale and shift; its config has them too."""
        network: Any = self.network
        network.register_to_config(scaling_factor=scale, shift_factor=shift)
        self.scale.fill_(scale)
        self.shift.fill_(shift)

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, C, H/factor, W/factor) of images (B, 3, H, W) in [-1, 1]."""
        network: Any = self.network
        with torch.autocast(x.device.type, enabled=False):
            encoded = network.encode(self.cast(x))
            posterior = getattr(encoded, "latent_dist", None)
            z: Tensor = encoded.latents if posterior is None else posterior.mode()
            return ((z.to(x.dtype) - self.shift) * self.scale).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, 3, H, W), not clamped to [-1, 1], of latents; differentiable in z."""
        network: Any = self.network
        with torch.autocast(z.device.type, enabled=False):
            raw = self.cast(z / self.scale + self.shift)
            x: Tensor = network.decode(raw).sample
            return x.to(z.dtype)


def build_autoencoder(network: str, options: dict[str, Any]) -> Autoencoder:
    """The autoencoder of a config, untrained."""
    import diffusers

    return Autoencoder(
        getattr(diffusers, choice("network", network, AUTOENCODER_NETWORKS))(**options)
    )


def new_autoencoder(options: dict[str, Any]) -> Autoencoder:
    """An `AutoencoderKL` to train, its latents not scaled yet.

    Arguments:
        options: of its constructor; each of its `block_out_channels` is a level, and has a block on
            the way down and one on the way up.
    """
    levels = len(options["block_out_channels"])
    blocks = {
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }
    unscaled = {"scaling_factor": 1.0, "shift_factor": 0.0}
    return build_autoencoder("AutoencoderKL", unscaled | blocks | options)


@torch.no_grad()
def latents_of(autoencoder: Autoencoder | None, images: Tensor) -> Tensor:
    """What a denoiser moves of images: their latents, or with None the images themselves."""
    return images if autoencoder is None else autoencoder.eval().encode(images)
