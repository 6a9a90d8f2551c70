"""A noise-aware classifier: an image tower modulated by t, with a head for each set of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdg.models.encoder import ImageEncoder
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.stages import Encoded, feature_hooks
from sdg.models.towers import image_tower

__all__ = ["NoisyClassifier"]


class NoisyClassifier(ImageEncoder):
    """log p(y | x_t) (Dhariwal & Nichol 2021, arXiv 2105.05233).

    The head reads the tower's embedding, as long as it comes.

    Arguments:
        clip: config of the CLIP whose image tower this is.
        schedule: config of the noise schedule that t refers to.
        classes: {factor: names}.
        width, hidden: of the network that reads t.
    """

    def __init__(
        self,
        clip: dict[str, Any],
        schedule: dict[str, Any],
        classes: Mapping[str, Sequence[str]],
        width: int = 128,
        hidden: int = 512,
    ):
        super().__init__()
        self.config: dict[str, Any] = {
            "clip": clip,
            "schedule": schedule,
            "classes": {factor: list(names) for factor, names in classes.items()},
            "width": width,
            "hidden": hidden,
        }
        self.encoder = NoiseAwareEncoder(image_tower(clip["model"]), clip, schedule, width, hidden)
        self.head = nn.Linear(clip["model"]["embed_dim"], sum(map(len, classes.values())))

    @property
    def classes(self) -> dict[str, list[str]]:
        """{factor: names}, in the order of the logits."""
        classes: dict[str, list[str]] = self.config["classes"]
        return classes

    @property
    def tower(self) -> nn.Module:  # type: ignore[override]  # read alone
        """The image tower."""
        return self.encoder.tower

    @property
    def schedule(self) -> dict[str, Any]:
        schedule: dict[str, Any] = self.config["schedule"]
        return schedule

    @property
    def resolution(self) -> int:  # type: ignore[override]  # read alone
        """Side of the images that the tower was made for."""
        return self.encoder.resolution

    def encode(self, x: Tensor, t: Tensor, stages: Sequence[str] = ()) -> Encoded:
        """The tower's unit embedding, the maps of `stages`, and the logits of all classes."""
        with feature_hooks(self.tower, stages) as maps:
            r = self.encoder.embed(x, t)
        return Encoded(F.normalize(r, dim=-1), maps, logits=self.head(r))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits of all classes, (B, K), of noisy images x_t, (B, 3, H, W).

        They are at levels t, (B,), of the classifier's schedule.
        """
        logits: Tensor = self.head(self.encoder.embed(x, t))
        return logits

    def by_factor(self, logits: Tensor) -> dict[str, Tensor]:
        """{factor: logits of its classes}."""
        parts = torch.split(logits, [len(names) for names in self.classes.values()], 1)
        return dict(zip(self.classes, parts, strict=True))
