"""The judge: a classifier of the shapes' factors that never guides, so that it can measure."""

import timm
import torch
from torch import Tensor, nn

import sdg.encoders.towers  # noqa: F401  (registers the small towers with timm)

__all__ = ["Judge"]


class Judge(nn.Module):
    """Reads every factor off an image.

    Arguments:
        model_name: a timm model.
        factors: {factor: number of values}, in the data's order.
    """

    def __init__(self, model_name: str, factors: dict[str, int]):
        super().__init__()
        self.config = {"model_name": model_name, "factors": dict(factors)}
        self.tower = timm.create_model(model_name, num_classes=sum(factors.values()))
        self.num_features = self.tower.num_features

    def features(self, x: Tensor) -> Tensor:
        """What the last layer sees, (B, F), for images (B, 3, H, W) in [-1, 1]."""
        return self.tower.forward_head(self.tower.forward_features(x), pre_logits=True)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of every factor's values, (B, number of values)."""
        sizes = self.config["factors"]
        logits = self.tower.get_classifier()(self.features(x))
        return dict(zip(sizes, logits.split(list(sizes.values()), 1)))

    @torch.no_grad()
    def guess(self, x: Tensor) -> Tensor:
        """The most likely value of every factor: integers, (B, number of factors)."""
        return torch.stack([logits.argmax(1) for logits in self(x).values()], 1)
