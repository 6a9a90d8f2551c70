"""A noise-aware encoder from a denoiser.

It is the contracting half of its U-Net, read out as an embedding.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models import UNet2DModel
from torch import Tensor, nn

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.models.noisy import NoisyEncoder

__all__ = ["ContractingHalf", "UNetEncoder"]


class Level(nn.Module):
    """A level of a U-Net's contracting half, with its down-sampling; from maps to maps."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        maps: Tensor = self.block(hidden_states=h, temb=time)[0]
        return maps


class Middle(nn.Module):
    """The first residual block of a U-Net's middle, and the attention behind it if there is one."""

    def __init__(self, middle: Any):  # a block of diffusers, none of which say what they hold
        super().__init__()
        self.resnet: nn.Module = middle.resnets[0]
        self.attention: nn.Module | None = middle.attentions[0]

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        h = self.resnet(h, time)
        if self.attention is not None:
            h = self.attention(h, temb=time)
        return h


class ContractingHalf(nn.Module):
    """The contracting half of a UNet2DModel, and a head.

    The head reads the maps in its middle as an embedding:

        h = middle(levels(conv_in(x)))
        r = W_2 silu(W_1 [W_0 silu(GroupNorm(h)), mean over places of h, f(t)])

    Arguments:
        unet: whose first half it is; its modules are taken, not copied.
        patch: the network sees blocks of patch × patch pixels as channels.
        places: channels of W_0, whose output keeps its places.
        hidden: width of the head.
        embed_dim: D.
    """

    def __init__(self, unet: UNet2DModel, patch: int, places: int, hidden: int, embed_dim: int):
        super().__init__()
        self.patch = patch
        self.time_proj, self.time_embedding = unet.time_proj, unet.time_embedding
        self.conv_in = unet.conv_in
        self.levels = nn.ModuleList(map(Level, unet.down_blocks))
        self.middle = Middle(unet.mid_block)
        config: Any = unet.config  # a dictionary whose keys are attributes too
        widths = list(config.block_out_channels)
        side = config.sample_size // 2 ** (len(widths) - 1)
        self.features = self.time_embedding.linear_2.out_features
        self.norm = nn.GroupNorm(config.norm_num_groups, widths[-1])
        self.squeeze = nn.Conv2d(widths[-1], places, 1)
        seen = places * side**2 + widths[-1] + self.features
        self.head = nn.Sequential(nn.Linear(seen, hidden), nn.SiLU(), nn.Linear(hidden, embed_dim))
        names = [f"levels.{i}" for i in range(len(widths))] + ["middle"]
        self.feature_info = [
            {"module": name, "num_chs": width}
            for name, width in zip(names, [*widths, widths[-1]], strict=True)
        ]

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv_in(F.pixel_unshuffle(x, self.patch))
        for level in self.levels:
            h = level(h, time)
        h = F.silu(self.norm(self.middle(h, time)))
        seen = torch.cat([self.squeeze(h).flatten(1), h.mean((2, 3)), time], 1)
        embeddings: Tensor = self.head(seen)
        return embeddings


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
    ):
        side, channels = clip["model"]["vision_cfg"]["image_size"], 3 * patch**2
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
        super().__init__(tower, config, tower.features, calibrated)
        self.normalise = nn.Identity()  # it sees what the denoiser saw
        self.beside: tuple[Denoiser, Tensor] | None = None

    @classmethod
    def of(cls, denoiser: Denoiser, clip: dict[str, Any], **options: Any) -> "UNetEncoder":
        """The encoder that starts from a denoiser trained here; its weights are copied.

        Raises:
            UserError: the denoiser is another network, or has learned from other images than this
                CLIP sees.
        """
        config = denoiser.config or {}
        own: Mapping[str, Any] = config.get("denoiser", {})
        if "network" not in own or own.get("heads") or own.get("sinusoid"):
            raise UserError(
                "module.tower=denoiser takes a denoiser that was trained here; with another use "
                "module.tower=clip."
            )
        side = clip["model"]["vision_cfg"]["image_size"]
        if config["resolution"] != side:
            raise UserError(
                f"module.denoiser draws {config['resolution']} pixels a side, this encoder sees "
                f"{side}; set "
                f"data.resolution={config['resolution']}."
            )
        if options["schedule"] != config["schedule"]:
            raise UserError(
                f"module.denoiser was trained with the schedule {config['schedule']}, this encoder "
                "is to have "
                f"{options['schedule']}; with another use module.tower=clip."
            )
        encoder = cls(clip, network=own["network"], patch=own.get("patch", 1), **options)
        trained = dict(denoiser.network.state_dict())
        names = {
            "levels.": "down_blocks.",
            "middle.resnet.": "mid_block.resnets.0.",
            "middle.attention.": "mid_block.attentions.0.",
        }
        for name, value in encoder.tower.state_dict().items():
            theirs = renamed(name, names)
            if theirs in trained:
                copy_widened(value, trained[theirs])
        return encoder

    @property
    def reads_estimate(self) -> bool:
        """Whether it reads x̂_0 beside x_t."""
        return bool(self.config.get("estimate", False))

    def attach(self, denoiser: Denoiser) -> None:
        """Gives an encoder that reads x̂_0 the denoiser that estimates it.

        Raises:
            UserError: the denoiser draws images of another size, or has no level like one of the
                encoder's.
        """
        if not self.reads_estimate:
            return
        if denoiser.resolution != self.resolution:
            raise UserError(
                f"the encoder reads the denoiser's estimates at {self.resolution} pixels a side, "
                f"the denoiser draws {denoiser.resolution}."
            )
        ours = Schedule(**self.config["schedule"])
        matched = denoiser.schedule.match(ours.alpha_bar(torch.arange(ours.T)).flatten())
        self.beside = denoiser, matched  # a tuple: its weights are not the encoder's

    def embed(self, x: Tensor, t: Tensor) -> Tensor:
        if self.reads_estimate:
            x = torch.cat([x, self.estimate(x, t).to(x.dtype)], 1)
        return super().embed(x, t)

    def estimate(self, x: Tensor, t: Tensor) -> Tensor:
        """x̂_0(x_t) of the attached denoiser, shaped as x.

        Raises:
            UserError: there is none.
        """
        if self.beside is None:
            raise UserError(
                "this encoder reads the denoiser's estimate of the clean image: give it the "
                "denoiser first, encoder.attach(denoiser)."
            )
        denoiser, matched = self.beside
        return denoiser.to(x.device).predict(x, matched.to(t.device)[t]).x0

    def level_features(self, t: Tensor) -> Tensor:
        sinusoid = self.tower.time_proj(t).to(self.tower.conv_in.weight.dtype)
        features: Tensor = self.tower.time_embedding(sinusoid)
        return features

    def read(self, x: Tensor, features: Tensor) -> Tensor:
        embeddings: Tensor = self.tower(x, features)
        return embeddings


def copy_widened(value: Tensor, trained: Tensor) -> None:
    """Copies weights in place; those of input channels that the source lacks become 0."""
    if value.shape == trained.shape:
        value.copy_(trained)
        return
    value.zero_()
    value[:, : trained.shape[1]] = trained


def renamed(name: str, names: Mapping[str, str]) -> str:
    """A weight's name in the U-Net."""
    for ours, theirs in names.items():
        if name.startswith(ours):
            return name.replace(ours, theirs, 1).replace(".block.", ".", 1)
    return name
