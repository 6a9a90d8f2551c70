"""A clean image tower that is modulated by t: the noise-aware encoder E(x_t, t)."""

import copy
from typing import Any

from diffusers.models.embeddings import Timesteps
from timm.layers import LayerNorm2d, LayerNormAct2d, RmsNorm
from torch import Tensor, nn

from sdg.errors import UserError
from sdg.models.noisy import NoisyEncoder
from sdg.models.recompute import Modulated

__all__ = ["NoiseAwareEncoder", "TimeConditionedNorm"]

NORMS_OF_MAPS = (nn.BatchNorm2d, nn.GroupNorm, LayerNorm2d, LayerNormAct2d)  # channels on axis 1
SHORTCUTS = ("downsample", "shortcut")  # parts of names in timm
NORMS_OF_TOKENS = (nn.LayerNorm, nn.RMSNorm, RmsNorm)  # channels last


class TimeConditionedNorm(Modulated):
    """h ← norm(h) · (1 + a(t)) + b(t), a scale and a shift for each channel.

    An activation that timm fused with the norm comes after.
    """

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm, self.act = norm, getattr(norm, "act", nn.Identity())
        if hasattr(norm, "act"):
            norm.act = nn.Identity()
        self.channels = norm.get_parameter("weight").numel()
        self.trailing = isinstance(norm, NORMS_OF_MAPS)  # the axes of space follow the channels
        self.modulation: Tensor | None = None  # (B or 1, 2 · channels), during a forward pass only

    def forward(self, h: Tensor) -> Tensor:
        h, space = self.norm(h), [1] * (h.ndim - 2)
        shape = (self.channels, *space) if self.trailing else (*space, self.channels)
        assert self.modulation is not None  # `NoiseAwareEncoder.run_tower` sets it
        scale, shift = self.modulation.view(-1, 2, *shape).unbind(1)
        activated: Tensor = self.act(h * (1 + scale) + shift)
        return activated


class NoiseAwareEncoder(NoisyEncoder):
    """E(x_t, t): a copy of a CLIP image tower whose normalisation layers are modulated by t.

    A sinusoidal embedding of t passes a small network whose last layer starts at zero, so that the
    copy starts out equal to the clean tower, in eval mode, at every t (after Liu et al. 2022, arXiv
    2112.05744). Norms on down-sampling shortcuts are left alone.

    Arguments:
        tower: the clean image tower, from normalised images to embeddings; it is copied.
        clip: config of the CLIP it belongs to, kept so that the weights rebuild it.
        schedule: config of the noise schedule that t refers to.
        width: of the sinusoidal embedding.
        hidden: width of the network behind it.
        calibrated: train the length of z too, so that z · E_text(y) is a logit of p(y | x_t).
        latent_channels: of the latents that it reads in the place of images; the tower's first
            convolution is then a new one. `clip` has their side as its `image_size`.
        autoencoder_digest: of the autoencoder that they are of.

    Raises:
        UserError: the tower has no norms that could be modulated, or no convolution.
    """

    modulated = (TimeConditionedNorm,)

    def __init__(
        self,
        tower: nn.Module,
        clip: dict[str, Any],
        schedule: dict[str, Any],
        width: int = 128,
        hidden: int = 512,
        calibrated: bool = False,
        latent_channels: int | None = None,
        autoencoder_digest: str | None = None,
    ):
        config = {"clip": clip, "schedule": schedule, "width": width, "hidden": hidden}
        own = copy.deepcopy(tower).requires_grad_(True)  # the clean one may be frozen
        if latent_channels is not None:
            read_channels(own, latent_channels)
        super().__init__(own, config, hidden, calibrated, latent_channels, autoencoder_digest)
        self.norms = [wrap(self.tower, name) for name in modulated_norms(self.tower)]
        if not self.norms:
            raise UserError(
                "this image tower has no BatchNorm2d, GroupNorm, LayerNorm or RMSNorm that could "
                "be modulated by t; choose another tower."
            )
        self.sizes = [2 * norm.channels for norm in self.norms]
        self.time = nn.Sequential(
            Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0),
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, sum(self.sizes)),
        )
        last = self.time[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def level_features(self, t: Tensor) -> Tensor:
        features: Tensor = self.time[:-1](t)
        return features

    def run_tower(self, x: Tensor, features: Tensor) -> Tensor:
        modulations = self.time[-1](features).split(self.sizes, -1)
        for norm, modulation in zip(self.norms, modulations, strict=True):
            norm.modulation = modulation
        try:
            r: Tensor = self.tower(x)
        finally:
            for norm in self.norms:
                # It holds the graph, with which no copy of this encoder could be made.
                norm.modulation = None
        return r


def modulated_norms(tower: nn.Module) -> list[str]:
    """Names of the normalisation layers that are modulated by t."""
    names = []
    for name, module in tower.named_modules():
        is_norm = isinstance(module, NORMS_OF_MAPS + NORMS_OF_TOKENS) and module.weight is not None
        on_shortcut = any(shortcut in name for shortcut in SHORTCUTS)
        if is_norm and not on_shortcut:
            names.append(name)
    return names


def read_channels(tower: nn.Module, channels: int) -> None:
    """Replaces a tower's first convolution by a new one of so many input channels."""
    for name, module in tower.named_modules():
        if isinstance(module, nn.Conv2d):
            parent, _, child = name.rpartition(".")
            same: Any = {key: getattr(module, key) for key in ("kernel_size", "stride", "padding")}
            bias = module.bias is not None
            first = nn.Conv2d(channels, module.out_channels, bias=bias, **same)
            setattr(tower.get_submodule(parent), child, first)
            return
    raise UserError("this image tower has no convolution that could read latents.")


def wrap(tower: nn.Module, name: str) -> TimeConditionedNorm:
    """Replaces one layer by its time-conditioned self."""
    parent, _, child = name.rpartition(".")
    owner = tower.get_submodule(parent)
    norm = TimeConditionedNorm(getattr(owner, child))
    setattr(owner, child, norm)
    return norm
