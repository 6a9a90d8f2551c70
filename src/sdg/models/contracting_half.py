"""The contracting half of a U-Net, with a head that reads its maps as an embedding."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models import UNet2DModel
from torch import Tensor, nn

__all__ = ["ContractingHalf"]


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
        time = time.expand(len(h), -1)
        seen = torch.cat([self.squeeze(h).flatten(1), h.mean((2, 3)), time], 1)
        embeddings: Tensor = self.head(seen)
        return embeddings
