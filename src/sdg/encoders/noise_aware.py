"""A clean image tower that is told t: the noise-aware encoder E(x_t, t)."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import Timesteps
from timm.layers import LayerNorm2d, LayerNormAct2d, RmsNorm
from torch import Tensor, nn

from sdg.encoders.clip import Normalise
from sdg.encoders.recompute import recomputed
from sdg.encoders.stages import Encoded, recorded, weights_of
from sdg.errors import UserError

__all__ = ["NoiseAwareEncoder", "TimeConditionedNorm"]

NORMS_OF_MAPS = (nn.BatchNorm2d, nn.GroupNorm, LayerNorm2d, LayerNormAct2d)  # channels on axis 1
SHORTCUTS = ("downsample", "shortcut")  # parts of names in timm
NORMS_OF_TOKENS = (nn.LayerNorm, nn.RMSNorm, RmsNorm)  # channels last


class TimeConditionedNorm(nn.Module):
    """h ← norm(h) · (1 + a(t)) + b(t), a scale and a shift for each channel; an activation that timm fused with the norm comes after."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm, self.act = norm, getattr(norm, "act", nn.Identity())
        if hasattr(norm, "act"):
            norm.act = nn.Identity()
        self.channels = norm.weight.numel()
        self.trailing = isinstance(norm, NORMS_OF_MAPS)  # the axes of space follow the channels
        self.modulation: Tensor | None = None  # (B, 2 · channels), there during a forward pass only

    def forward(self, h: Tensor) -> Tensor:
        h, space = self.norm(h), [1] * (h.ndim - 2)
        shape = (self.channels, *space) if self.trailing else (*space, self.channels)
        scale, shift = self.modulation.view(len(h), 2, *shape).unbind(1)
        return self.act(h * (1 + scale) + shift)


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
        calibrated: train the length of z too, so that z · E_text(y) is a logit of p(y | x_t).

    With `checkpointing` a gradient takes a forward pass more, and much less memory.
    """

    def __init__(self, tower: nn.Module, clip: dict, schedule: dict, width: int = 128, hidden: int = 512, calibrated: bool = False):
        super().__init__()
        self.config, self.checkpointing = {"clip": clip, "schedule": schedule, "width": width, "hidden": hidden}, False
        if calibrated:  # no key otherwise: the config of other encoders stays what it was
            self.config["calibrated"] = True
        self.tower, self.normalise = copy.deepcopy(tower).requires_grad_(True), Normalise.of(clip["model"])  # the clean one may be frozen
        self.norms = [wrap(self.tower, name) for name in modulated_norms(self.tower)]
        if not self.norms:
            raise UserError("this image tower has no BatchNorm2d, GroupNorm, LayerNorm or RMSNorm that could be told t; choose another tower.")
        self.sizes = [2 * norm.channels for norm in self.norms]
        self.time = nn.Sequential(
            Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0),
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, sum(self.sizes)),
        )
        nn.init.zeros_(self.time[-1].weight)
        nn.init.zeros_(self.time[-1].bias)
        self.register_buffer("logit_scale", torch.ones(()))  # c of the CLIP it belongs to: its temperature travels along
        if calibrated:
            self.length = nn.Linear(clip["model"]["embed_dim"] + hidden + 1, 1)
            nn.init.zeros_(self.length.weight)
            nn.init.zeros_(self.length.bias)

    @property
    def calibrated(self) -> bool:
        """Whether z · E_text(y) is a logit of p(y | x_t)."""
        return self.config.get("calibrated", False)

    @property
    def resolution(self) -> int:
        """Side of the images that the tower was made for."""
        return self.config["clip"]["model"]["vision_cfg"]["image_size"]

    def encode(self, x: Tensor, t: Tensor, stages: Sequence[str] = ()) -> Encoded:
        """Embeddings and the maps of `stages`, in one pass."""
        with recorded(self.tower, stages) as maps:
            z = self.embed(x, t)
            return Encoded(F.normalize(z, dim=-1), maps, z if self.calibrated else None)

    def encode_image(self, x: Tensor, t: Tensor) -> Tensor:
        """Unit embeddings, (B, D), of noisy images x_t (B, 3, H, W), [-1, 1] before noise, at levels t (B,) of the encoder's schedule."""
        return F.normalize(self.embed(x, t), dim=-1)

    def embed(self, x: Tensor, t: Tensor) -> Tensor:
        """Embeddings, (B, D), as long as they come; of a calibrated encoder

            z = c · e^ℓ · u,    u = r/‖r‖,    r = tower(x_t, t),    ℓ = a · u + b · f(t)/‖f(t)‖ + α log ‖r‖ + β

        with f the features of t that modulate the norms. ℓ = 0 at first: it starts with the clean CLIP's own logits,
        z · E_text(y) = c · cos(u, E_text(y)).
        """
        features = self.time[:-1](t)
        for norm, modulation in zip(self.norms, self.time[-1](features).split(self.sizes, -1)):
            norm.modulation = modulation
        with recomputed(self.tower, TimeConditionedNorm) if self.checkpointing and torch.is_grad_enabled() else nullcontext():
            z = self.tower(self.normalise(x))
        for norm in self.norms:
            norm.modulation = None  # it holds the graph, with which no copy of this encoder could be made
        if not self.calibrated:
            return z
        return self.logit_scale * self.log_length(z, features).exp() * F.normalize(z.to(self.length.weight.dtype), dim=-1)

    def log_length(self, r: Tensor, features: Tensor) -> Tensor:
        """ℓ, (B, 1). Directions, not vectors as long as they come: the first steps would move ℓ by whole units."""
        with torch.autocast(r.device.type, enabled=False):  # an error of bfloat16 in ℓ is one of all logits
            r, features = r.to(self.length.weight.dtype), features.to(self.length.weight.dtype)
            norm = r.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(r.dtype).tiny)
            return self.length(torch.cat([F.normalize(r, dim=-1), F.normalize(features, dim=-1), norm.log()], -1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.embed(x, t)

    def freeze(self, stages: Sequence[str]) -> None:
        """Leaves these stages' weights as they are; what tells them t is trained, and BatchNorm's statistics follow the noised images.

        Raises:
            UserError: the tower has no such stage.
        """
        for parameter in weights_of(self.tower, stages):
            parameter.requires_grad_(False)


def modulated_norms(tower: nn.Module) -> list[str]:
    """Names of the normalisation layers that are told t."""
    return [name for name, module in tower.named_modules()
            if isinstance(module, NORMS_OF_MAPS + NORMS_OF_TOKENS) and module.weight is not None
            and not any(shortcut in name for shortcut in SHORTCUTS)]


def wrap(tower: nn.Module, name: str) -> TimeConditionedNorm:
    """Replaces one layer by its time-conditioned self."""
    parent, _, child = name.rpartition(".")
    owner = tower.get_submodule(parent)
    norm = TimeConditionedNorm(getattr(owner, child))
    setattr(owner, child, norm)
    return norm
