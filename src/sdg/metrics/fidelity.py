"""How far the samples are from the data as a whole."""

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from sdg.metrics.judge import Judge

__all__ = ["diversity_judge", "frechet_judge", "kernel_judge"]


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
    return float(filled(FrechetInceptionDistance(feature=Features(judge)), samples, real, batch_size).compute())


def kernel_judge(judge: Judge, samples: Tensor, real: Tensor, batch_size: int = 250) -> tuple[float, float] | None:
    """Kernel distance (Bińkowski et al. 2018, arXiv 1801.01401: MMD² with the kernel (x·y/d + 1)³) in the judge's features, and its deviation.

    Unbiased, so that small numbers of samples can be compared with large ones. It is not KID, whose features are Inception's.

    Arguments:
        samples, real: images (N, 3, H, W) in [-1, 1]; None is returned for fewer than 100 of either.
    """
    size = min(len(samples), len(real), 1000)
    if size < 100:
        return None
    # torchmetrics draws the subsets from the global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mean, deviation = filled(KernelInceptionDistance(feature=Features(judge), subset_size=size), samples, real, batch_size).compute()
    return float(mean), float(deviation)


def filled(distance, samples: Tensor, real: Tensor, batch_size: int):
    """A torchmetrics distance with both sets in it."""
    distance = distance.to(samples.device)
    for images, is_real in ((samples, False), (real, True)):
        for part in images.split(batch_size):
            distance.update(part, real=is_real)
    return distance


def diversity_judge(features: Tensor, groups: list[str]) -> float | None:
    """Mean Euclidean distance between two samples of one group in the judge's features (B, F); None where no group has two."""
    distances = [torch.pdist(features[torch.tensor([g == group for g in groups], device=features.device)]) for group in dict.fromkeys(groups)]
    every = torch.cat(distances)
    return every.mean().item() if len(every) else None
