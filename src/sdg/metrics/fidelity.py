"""How far the samples are from the data as a whole."""

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from sdg.metrics.judge import Judge

__all__ = ["frechet_judge"]


class Features(nn.Module):
    """The judge's features as torchmetrics wants them."""

    def __init__(self, judge: Judge):
        super().__init__()
        self.judge, self.num_features = judge, judge.num_features

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.judge.features(x)


def frechet_judge(judge: Judge, samples: Tensor, real: Tensor, batch_size: int = 250) -> float | None:
    """Fréchet distance ‖m − m'‖² + tr(C + C' − 2 (C C')^½) between the judge's features of samples and of real images.

    It is not FID, whose features are Inception's; compare it with itself only, at equal numbers of samples: few samples bias it upwards.

    Arguments:
        samples, real: images (N, 3, H, W) in [-1, 1]; None is returned for fewer than two samples.
    """
    if len(samples) < 2:
        return None
    distance = FrechetInceptionDistance(feature=Features(judge)).to(samples.device)
    for images, is_real in ((samples, False), (real, True)):
        for part in images.split(batch_size):
            distance.update(part, real=is_real)
    return float(distance.compute())
