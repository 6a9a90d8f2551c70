"""A clean image tower that is told t: the noise-aware encoder E(x_t, t)."""

import copy

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import Timesteps
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from sdg.encoders.clip import Normalise
from sdg.errors import UserError

__all__ = ["NoiseAwareEncoder", "TimeConditionedNorm"]

NORMS_OF_MAPS = (nn.BatchNorm2d, nn.GroupNorm, LayerNorm2d)  # channels on axis 1
NORMS_OF_TOKENS = (nn.LayerNorm,)  # channels last


class TimeConditionedNorm(nn.Module):
    """h ← norm(h) · (1 + a(t)) + b(t), a scale and a shift for each channel."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm, self.of_maps = norm, isinstance(norm, NORMS_OF_MAPS)
        self.channels = norm.weight.numel()
        self.modulation: Tensor | None = None  # (B, 2 · channels), set for each forward pass

    def forward(self, h: Tensor) -> Tensor:
        h, ab = self.norm(h), self.modulation
        scale, shift = ab.view(len(ab), 2, self.channels, *[1] * (h.ndim - 2)).unbind(1) if self.of_maps \
            else ab.view(len(ab), 2, *[1] * (h.ndim - 2), self.channels).unbind(1)
        return h * (1 + scale) + shift


class NoiseAwareEncoder(nn.Module):
    """E(x_t, t): a copy of a CLIP image tower whose normalisation layers are modulated by t.

    A sinusoidal embedding of t passes a small network whose last layer starts at zero, so that the copy starts out equal to the
    clean tower, in eval mode, at every t (after Liu et al. 2022, arXiv 2112.05744). Norms on down-sampling shortcuts are left alone.

    Arguments:
        tower: the clean image tower, from normalised images to embeddings; it is copied.
        clip: config of the CLIP it belongs to, kept so that the weights rebuild it.
        schedule: config of the noise schedule that t refers to.
        width: of the sinusoidal embedding.
        hidden: width of the network behind it.
    """

    aware = True

    def __init__(self, tower: nn.Module, clip: dict, schedule: dict, width: int = 128, hidden: int = 512):
        super().__init__()
        self.config = {"clip": clip, "schedule": schedule, "width": width, "hidden": hidden}
        self.tower, self.normalise = copy.deepcopy(tower), Normalise()
        self.norms = [wrap(self.tower, name) for name in modulated_norms(self.tower)]
        if not self.norms:
            raise UserError("this image tower has no BatchNorm2d, GroupNorm or LayerNorm that could be told t; choose another tower.")
        self.sizes = [2 * norm.channels for norm in self.norms]
        self.time = nn.Sequential(
            Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0),
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, sum(self.sizes)),
        )
        nn.init.zeros_(self.time[-1].weight)
        nn.init.zeros_(self.time[-1].bias)
        self.register_buffer("logit_scale", torch.ones(()))  # c of the CLIP it belongs to: its temperature travels along

    @property
    def resolution(self) -> int:
        """Side of the images that the tower was made for."""
        return self.config["clip"]["model"]["vision_cfg"]["image_size"]

    def encode_image(self, x: Tensor, t: Tensor) -> Tensor:
        """Unit embeddings, (B, D), of noisy images x_t (B, 3, H, W), [-1, 1] before noise, at levels t (B,) of the encoder's schedule."""
        for norm, modulation in zip(self.norms, self.time(t).split(self.sizes, -1)):
            norm.modulation = modulation
        return F.normalize(self.tower(self.normalise(x)), dim=-1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.encode_image(x, t)


def modulated_norms(tower: nn.Module) -> list[str]:
    """Names of the normalisation layers that are told t."""
    return [name for name, module in tower.named_modules()
            if isinstance(module, NORMS_OF_MAPS + NORMS_OF_TOKENS) and module.weight is not None and "downsample" not in name]


def wrap(tower: nn.Module, name: str) -> TimeConditionedNorm:
    """Replaces one layer by its time-conditioned self."""
    parent, _, child = name.rpartition(".")
    owner = tower.get_submodule(parent)
    norm = TimeConditionedNorm(getattr(owner, child))
    setattr(owner, child, norm)
    return norm
