"""The judge: it reads the shapes' factors and outlines off an image.

It never guides, so that it can measure.
"""

from functools import reduce
from operator import add
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdg.models.stages import feature_hooks, stages
from sdg.models.towers import check_timm_name

__all__ = ["Judge", "Judgement"]


class Judgement(NamedTuple):
    """What the judge sees.

    That is logits of every factor's values, (B, number of values), of the object's mask, (B, H, W),
    and features, (B, F).
    """

    logits: dict[str, Tensor]
    mask: Tensor
    features: Tensor

    def guesses(self) -> Tensor:
        """The most likely value of every factor: integers, (B, number of factors)."""
        return torch.stack([logits.argmax(1) for logits in self.logits.values()], 1)

    def log_likelihood(self, wanted: Tensor) -> Tensor:
        """log p(factors | image) of each of N conditions, (B, N).

        It is the Σ of log softmax over the factors that a condition names; `wanted` is −1 where it
        names none.
        """
        each = [
            logits.log_softmax(1)[:, values.clamp(min=0)] * (values >= 0)
            for logits, values in zip(self.logits.values(), wanted.T, strict=True)
        ]
        return torch.stack(each).sum(0)


class Judge(nn.Module):
    """Reads every factor off an image, and where its object is.

    Arguments:
        model_name: a timm model with stages.
        factors: {factor: number of values}, in the data's order.
        mask_width: channels of the mask's head.
        resolution: side in pixels of the images that it was trained on.

    Raises:
        UserError: timm has no such model.
    """

    def __init__(
        self, model_name: str, factors: dict[str, int], mask_width: int = 32, resolution: int = 32
    ):
        super().__init__()
        self.config: dict[str, Any] = {
            "model_name": model_name,
            "factors": dict(factors),
            "mask_width": mask_width,
            "resolution": resolution,
        }
        self.resolution = resolution
        check_timm_name(model_name)
        # timm's own methods, which `nn.Module` lacks, are called.
        self.tower: Any = timm.create_model(model_name, num_classes=sum(factors.values()))
        self.num_features = self.tower.num_features
        by_name = stages(self.tower)
        self.stage_names = list(by_name)
        self.lateral = nn.ModuleDict(
            {
                name.replace(".", "_"): nn.Conv2d(stage.channels, mask_width, 1)
                for name, stage in by_name.items()
            }
        )
        self.fine = nn.Sequential(
            nn.Conv2d(3 + mask_width, mask_width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(mask_width, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Judgement:
        """Reads images (B, 3, H, W) in [-1, 1]; the features are what the last layer sees."""
        with feature_hooks(self.tower, self.stage_names) as maps:
            features = self.tower.forward_head(self.tower.forward_features(x), pre_logits=True)
        logits = self.tower.get_classifier()(features)
        sizes = self.config["factors"]
        lateral = (
            F.interpolate(self.lateral[name.replace(".", "_")](h), x.shape[-2:], mode="bilinear")
            for name, h in maps.items()
        )
        context = reduce(add, lateral)
        return Judgement(
            dict(zip(sizes, logits.split(list(sizes.values()), 1), strict=True)),
            self.fine(torch.cat([x, context], 1))[:, 0],
            features,
        )
