"""The judge: reads the shapes' factors and outlines off an image; it never guides, so that it can measure."""

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sdg.encoders.towers  # noqa: F401  (registers the small towers with timm)
from sdg.encoders.stages import recorded, stages

__all__ = ["Judge"]


class Judge(nn.Module):
    """Reads every factor off an image, and where its object is.

    Arguments:
        model_name: a timm model with stages.
        factors: {factor: number of values}, in the data's order.
        mask_width: channels of the mask's head.
        resolution: side in pixels of the images that it was trained on.
    """

    def __init__(self, model_name: str, factors: dict[str, int], mask_width: int = 32, resolution: int = 32):
        super().__init__()
        self.config = {"model_name": model_name, "factors": dict(factors), "mask_width": mask_width, "resolution": resolution}
        self.resolution = resolution
        self.tower = timm.create_model(model_name, num_classes=sum(factors.values()))
        self.num_features = self.tower.num_features
        there = stages(self.tower)
        self.read = list(there)
        self.lateral = nn.ModuleDict({name.replace(".", "_"): nn.Conv2d(stage.channels, mask_width, 1) for name, stage in there.items()})
        self.fine = nn.Sequential(nn.Conv2d(3 + mask_width, mask_width, 3, padding=1), nn.SiLU(), nn.Conv2d(mask_width, 1, 3, padding=1))

    def features(self, x: Tensor) -> Tensor:
        """What the last layer sees, (B, F), for images (B, 3, H, W) in [-1, 1]."""
        return self.tower.forward_head(self.tower.forward_features(x), pre_logits=True)

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Logits of every factor's values, (B, number of values), and of the object's mask, (B, H, W)."""
        with recorded(self.tower, self.read) as maps:
            logits = self.tower.get_classifier()(self.features(x))
        sizes = self.config["factors"]
        context = sum(F.interpolate(self.lateral[name.replace(".", "_")](h), x.shape[-2:], mode="bilinear") for name, h in maps.items())
        return dict(zip(sizes, logits.split(list(sizes.values()), 1))), self.fine(torch.cat([x, context], 1))[:, 0]

    @torch.no_grad()
    def guess(self, x: Tensor) -> Tensor:
        """The most likely value of every factor: integers, (B, number of factors)."""
        return torch.stack([logits.argmax(1) for logits in self(x)[0].values()], 1)

    @torch.no_grad()
    def mask(self, x: Tensor) -> Tensor:
        """Where the object is: booleans, (B, H, W)."""
        return self(x)[1] > 0
