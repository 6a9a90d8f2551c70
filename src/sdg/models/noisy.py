"""What image encoders of noisy images share: embeddings, their length, stages."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdg.models.clip import Normalise
from sdg.models.encoder import ImageEncoder
from sdg.models.recompute import Modulated, recomputed
from sdg.models.stages import Encoded, feature_hooks, stage_parameters

__all__ = ["NoisyEncoder"]


class NoisyEncoder(ImageEncoder):
    """An encoder E(x_t, t) of noisy images into the embedding space of a CLIP.

    With `checkpointing` a gradient takes a forward pass more, and much less memory.

    Arguments:
        tower: from normalised images to embeddings; kept as `tower`.
        config: plain JSON that rebuilds the encoder; holds `clip`, the config of its CLIP, and
            `schedule`, that of the noise schedule that t refers to.
        features: width of what is known of t, as `level_features` gives it.
        calibrated: train the length of z too, so that z · E_text(y) is a logit of p(y | x_t).
        latent_channels: of the noisy latents that it reads, as they are, in the place of images.
        autoencoder_digest: of the autoencoder that they are of.
    """

    # Modules of the tower that hold a modulation during a pass.
    modulated: tuple[type[Modulated], ...] = ()
    logit_scale: Tensor
    normalise: nn.Module

    def __init__(
        self,
        tower: nn.Module,
        config: dict[str, Any],
        features: int,
        calibrated: bool,
        latent_channels: int | None = None,
        autoencoder_digest: str | None = None,
    ):
        super().__init__()
        self.config, self.checkpointing, self.calibrated = config, False, calibrated
        if calibrated:  # no key otherwise: the config of other encoders stays what it was
            self.config["calibrated"] = True
        self.tower, self.normalise = tower, Normalise.from_config(config["clip"]["model"])
        self.latent_channels = latent_channels
        if latent_channels is not None:  # no key otherwise, as above
            self.config["latent_channels"] = latent_channels
            self.normalise = nn.Identity()
        self.autoencoder_digest = autoencoder_digest
        if autoencoder_digest is not None:
            self.config["autoencoder_digest"] = autoencoder_digest
        # c of the CLIP it belongs to: its temperature travels along.
        self.register_buffer("logit_scale", torch.ones(()))
        if calibrated:
            self.length = nn.Linear(config["clip"]["model"]["embed_dim"] + features + 1, 1)
            nn.init.zeros_(self.length.weight)
            nn.init.zeros_(self.length.bias)

    @abstractmethod
    def level_features(self, t: Tensor) -> Tensor:
        """What is known of levels t (B,), (B, F); or of one level for all, (1,), (1, F)."""

    @abstractmethod
    def run_tower(self, x: Tensor, features: Tensor) -> Tensor:
        """The tower's output for normalised noisy images, (B, D), from (B, F) or (1, F)."""

    @property
    def schedule(self) -> dict[str, Any]:
        schedule: dict[str, Any] = self.config["schedule"]
        return schedule

    @property
    def cosine_scale(self) -> float:
        return float(self.logit_scale)

    @property
    def resolution(self) -> int:  # type: ignore[override]  # read alone
        """Side of the images that the tower was made for."""
        side: int = self.config["clip"]["model"]["vision_cfg"]["image_size"]
        return side

    def encode(self, x: Tensor, t: Tensor, stages: Sequence[str] = ()) -> Encoded:
        """Embeddings and the maps of `stages`, in one pass."""
        with feature_hooks(self.tower, stages) as maps:
            z = self.embed(x, t)
            return Encoded(F.normalize(z, dim=-1), maps, z if self.calibrated else None)

    def encode_image(self, x: Tensor, t: Tensor) -> Tensor:
        """Unit embeddings, (B, D).

        Arguments:
            x: noisy images x_t, (B, 3, H, W), in [-1, 1] before noise; or latents, (B, C, h, w).
            t: their levels in the encoder's schedule, (B,).
        """
        return F.normalize(self.embed(x, t), dim=-1)

    def embed(self, x: Tensor, t: Tensor) -> Tensor:
        """Embeddings, (B, D), as long as they come.

        Of a calibrated encoder they are

            z = c · e^ℓ · u,    u = r/‖r‖,    r = tower(x_t, t)
            ℓ = a · u + b · f(t)/‖f(t)‖ + α log ‖r‖ + β

        with f the features of t. ℓ = 0 at first: z starts as long as the clean CLIP's logits are
        sharp, z · E_text(y) = c · cos(u, E_text(y)).
        """
        features = self.level_features(one_row(t))
        saved = self.checkpointing and torch.is_grad_enabled()
        with recomputed(self.tower, self.modulated) if saved else nullcontext():
            r = self.run_tower(self.normalise(x), features)
        if not self.calibrated:
            return r
        scale = self.logit_scale * self.log_length(r, features).exp()
        return scale * F.normalize(r.to(self.length.weight.dtype), dim=-1)

    def log_length(self, r: Tensor, features: Tensor) -> Tensor:
        """ℓ, (B, 1).

        Directions, not vectors as long as they come: the first steps would move ℓ by whole units.
        """
        # An error of bfloat16 in ℓ is one of all logits.
        with torch.autocast(r.device.type, enabled=False):
            r, features = r.to(self.length.weight.dtype), features.to(self.length.weight.dtype)
            norm = r.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(r.dtype).tiny)
            direction = F.normalize(features, dim=-1).expand(len(r), -1)
            seen = F.normalize(r, dim=-1), direction, norm.log()
            length: Tensor = self.length(torch.cat(seen, -1))
            return length

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.embed(x, t)

    def freeze(self, stages: Sequence[str]) -> None:
        """Leaves these stages' weights as they are; the rest is trained.

        BatchNorm's statistics follow the noised images.

        Raises:
            UserError: the tower has no such stage.
        """
        for parameter in stage_parameters(self.tower, stages):
            parameter.requires_grad_(False)


def one_row(t: Tensor) -> Tensor:
    """Levels (B,); (1,) of one level that was expanded to all images, as in sampling."""
    return t[:1] if t.stride(0) == 0 else t
