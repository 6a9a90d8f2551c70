"""A noise-aware encoder from a denoiser.

It is the contracting half of its U-Net, read out as an embedding.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models import UNet2DModel
from torch import Tensor, nn

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.models.contracting_half import ContractingHalf
from sdg.models.noisy import NoisyEncoder

__all__ = ["UNetEncoder"]

# beginnings of names in the contracting half and in the U-Net
UNET_NAMES = {
    "levels.": "down_blocks.",
    "middle.resnet.": "mid_block.resnets.0.",
    "middle.attention.": "mid_block.attentions.0.",
}


class UNetEncoder(NoisyEncoder):
    """E(x_t, t): the contracting half of a denoiser's U-Net, with an embedding for its output.

    A denoiser has learned every pixel of noisy images at every t, so that its first half starts out
    knowing what is in them; a CLIP's tower has seen none. The architecture is that of the noisy
    classifiers of Dhariwal & Nichol 2021 (arXiv 2105.05233), the idea of reading a diffusion
    model's own features that of Luo et al. 2024 (arXiv 2312.02150). The half is trained further.

    With `estimate` it reads the denoiser's estimate of the clean image beside the noisy one,

        z = E([x_t, x̂_0(x_t)], t),   ∇_x z = ∂_1 E + ∂_2 E · ∂x̂_0/∂x_t

    so that a part of the gradient passes through the denoiser; its Jacobian,
    √ᾱ/(1−ᾱ) Cov(x_0 | x_t), leaves of that part what images can do. `attach` gives it the denoiser.

    Arguments:
        clip: config of the CLIP in whose space it embeds.
        schedule: config of the noise schedule that t refers to.
        network: arguments of UNet2DModel, as of the denoiser.
        patch: of the denoiser.
        places: channels that keep their places at the end of the half.
        hidden: width of the head.
        calibrated: train the length of z too, so that z · E_text(y) is a logit of p(y | x_t).
        estimate: read x̂_0 too.
        latent_channels: of the latents that it reads in the place of images; `clip` then has their
            side as its `image_size`.
        autoencoder_digest: of the autoencoder that they are of.
    """

    tower: ContractingHalf

    def __init__(
        self,
        clip: dict[str, Any],
        schedule: dict[str, Any],
        network: dict[str, Any],
        patch: int = 1,
        places: int = 32,
        hidden: int = 256,
        calibrated: bool = False,
        estimate: bool = False,
        latent_channels: int | None = None,
        autoencoder_digest: str | None = None,
    ):
        side, channels = (
            clip["model"]["vision_cfg"]["image_size"],
            (latent_channels or 3) * patch**2,
        )
        unet = UNet2DModel(
            sample_size=side // patch,
            in_channels=channels * (2 if estimate else 1),
            out_channels=channels,
            **network,
        )
        tower = ContractingHalf(unet, patch, places, hidden, clip["model"]["embed_dim"])
        config = {
            "clip": clip,
            "schedule": schedule,
            "network": network,
            "patch": patch,
            "places": places,
            "hidden": hidden,
        }
        if estimate:  # no key otherwise: the config of other encoders stays what it was
            config["estimate"] = True
        latents = (latent_channels, autoencoder_digest)
        super().__init__(tower, config, tower.features, calibrated, *latents)
        self.reads_estimate = estimate
        self.normalise = nn.Identity()  # it sees what the denoiser saw
        self.beside: tuple[Denoiser, Tensor] | None = None

    @classmethod
    def from_denoiser(
        cls, denoiser: Denoiser, clip: dict[str, Any], **options: Any
    ) -> "UNetEncoder":
        """The encoder that starts from a denoiser trained here; its weights are copied.

        Raises:
            UserError: the denoiser is another network, or has learned from other images than this
                CLIP sees.
        """
        config = denoiser.config or {}
        own: Mapping[str, Any] = config.get("denoiser", {})
        changed = {"architecture", "heads", "sinusoid"}  # with which it is no plain UNet2DModel
        if "network" not in own or any(own.get(name) for name in changed):
            raise UserError(
                "module.tower=denoiser takes a denoiser that was trained here; with another use "
                "module.tower=clip."
            )
        side = clip["model"]["vision_cfg"]["image_size"]
        if config["resolution"] != side:
            raise UserError(
                f"module.denoiser draws {config['resolution']} pixels a side, this encoder sees "
                f"{side}; set data.resolution={config['resolution']}."
            )
        if options["schedule"] != config["schedule"]:
            raise UserError(
                f"module.denoiser was trained with the schedule {config['schedule']}, this encoder "
                f"is to have {options['schedule']}; with another use module.tower=clip."
            )
        if denoiser.latents:
            options["latent_channels"] = denoiser.channels
        encoder = cls(clip, network=own["network"], patch=own.get("patch", 1), **options)
        trained = dict(denoiser.network.state_dict())
        for name, value in encoder.tower.state_dict().items():
            theirs = name_in_unet(name)
            if theirs in trained:
                copy_widened(value, trained[theirs])
        return encoder

    def attach(self, denoiser: Denoiser) -> None:
        """Gives an encoder that reads x̂_0 the denoiser that estimates it.

        It keeps the one that it was given first, which every pipeline of this encoder then shares.

        Raises:
            UserError: it has another one already; or the denoiser draws images of another size, or
                has no level like one of the encoder's.
        """
        if not self.reads_estimate:
            return
        if denoiser.resolution != self.resolution:
            raise UserError(
                f"the encoder reads the denoiser's estimates at {self.resolution} pixels a side, "
                f"the denoiser draws {denoiser.resolution}."
            )
        if self.beside is not None and self.beside[0] is not denoiser:
            raise UserError(
                "this encoder reads the estimates of another denoiser already; load it a second "
                "time for this one."
            )
        ours = Schedule(**self.config["schedule"])
        matched = denoiser.schedule.match(
            ours.alpha_bar(torch.arange(ours.T)).flatten(),
            own="the denoiser's schedule",
            other="the encoder's schedule",
        )
        self.beside = denoiser, matched  # a tuple: its weights are not the encoder's

    def embed(self, x: Tensor, t: Tensor) -> Tensor:
        if self.reads_estimate:
            x = torch.cat([x, self.estimate(x, t).to(x.dtype)], 1)
        return super().embed(x, t)

    def estimate(self, x: Tensor, t: Tensor) -> Tensor:
        """x̂_0(x_t) of the attached denoiser, which is on the device of x; shaped as x.

        Raises:
            UserError: there is none.
        """
        if self.beside is None:
            raise UserError(
                "this encoder reads the denoiser's estimate of the clean image: give it the "
                "denoiser first, encoder.attach(denoiser)."
            )
        denoiser, matched = self.beside
        return denoiser(x, matched.to(t.device)[t]).x0

    def level_features(self, t: Tensor) -> Tensor:
        sinusoid = self.tower.time_proj(t).to(self.tower.conv_in.weight.dtype)
        features: Tensor = self.tower.time_embedding(sinusoid)
        return features

    def run_tower(self, x: Tensor, features: Tensor) -> Tensor:
        embeddings: Tensor = self.tower(x, features)
        return embeddings


def copy_widened(value: Tensor, trained: Tensor) -> None:
    """Copies weights in place; those of input channels that the source lacks become 0."""
    if value.shape == trained.shape:
        value.copy_(trained)
        return
    value.zero_()
    value[:, : trained.shape[1]] = trained


def name_in_unet(name: str) -> str:
    """The name in the U-Net of a weight of its contracting half."""
    for ours, theirs in UNET_NAMES.items():
        if name.startswith(ours):
            return name.replace(ours, theirs, 1).replace(".block.", ".", 1)
    return name
