"""Distances between sets of images in the features of a network.

Every one is the same whatever rank or batch a sample was in.
"""

from abc import abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.utilities.data import dim_zero_cat

from sdg.metrics.alignment import bootstrap_of_sums

__all__ = [
    "FEW",
    "Diversity",
    "Frechet",
    "Kernel",
    "FeatureMetric",
    "PrecisionRecall",
    "SamePrompts",
]

FEW = 100  # below so many images of either set, no distance says anything
SUBSET = 1000
PAIRS = 100_000  # of one condition at most; up to 447 samples have fewer
PART = 1000  # pairs whose features are held at once


def enough(images: int) -> bool:
    """Whether a distance of so many images says something."""
    return images >= FEW


class FeatureMetric(Metric):
    """A figure of N samples' features, gathered over ranks and put in the order of the samples.

    Metrics of this kind that are updated alike share one copy of the features in a
    `MetricCollection`.

    Arguments:
        real: features of real images to compare with, (M, F); on the CPU.
    """

    full_state_update = False
    features: list[Tensor]
    index: list[Tensor]
    group: list[Tensor]

    def __init__(self, real: Tensor | None = None):
        super().__init__()
        self.real = real
        for name in ("features", "index", "group"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, features: Tensor, index: Tensor, group: Tensor) -> None:
        """Adds samples.

        Arguments:
            features: (B, F).
            index: the samples' places in the run, integers (B,).
            group: which condition each sample answers, integers (B,).
        """
        self.features.append(features)
        self.index.append(index)
        self.group.append(group)

    def compute(self):
        order = dim_zero_cat(self.index).argsort()
        features, group = dim_zero_cat(self.features), dim_zero_cat(self.group)
        return self.compute_from(features[order].cpu(), group[order].cpu())

    @abstractmethod
    def compute_from(self, features: Tensor, group: Tensor):
        """The figure of all samples, in order."""


class Frechet(FeatureMetric):
    """Fréchet distance ‖m − m'‖² + tr(C + C' − 2 (C C')^½) between samples and real images.

    Heusel et al. 2017 (arXiv 1706.08500, eq. 6) define it; where the features are Inception's it is
    FID. Few samples bias it upwards: compare equal numbers. None for fewer than 100 of
    either.
    """

    def compute_from(self, features, group):
        if min(len(features), len(self.real)) < FEW:
            return None
        distance = FrechetInceptionDistance(
            feature=AsTheyAre(features.shape[1]), sync_on_compute=False
        )
        distance.update(self.real, real=True)
        distance.update(features, real=False)
        return float(distance.compute())


class SamePrompts(Metric):
    """Fréchet distance between N samples and N real images of the same prompts.

    Beside it stands that between N others and those.

    The two compare: equal numbers, the same prompts, so that neither leaving a prompt aside nor
    having few samples is an advantage. None for fewer than 100.
    """

    full_state_update = False
    names = ("samples", "real", "others")
    index: list[Tensor]

    def __init__(self):
        super().__init__()
        for name in (*self.names, "index"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, samples: Tensor, real: Tensor, others: Tensor, index: Tensor) -> None:
        """Adds features, (B, F) each, of samples and of two real images for the prompt of each.

        Arguments:
            index: the samples' places in the run, integers (B,).
        """
        for name, features in zip(self.names, (samples, real, others), strict=True):
            getattr(self, name).append(features)
        self.index.append(index)

    def compute(self) -> tuple[float | None, float | None]:
        """The distance of the samples, and that of the other real images."""
        order = dim_zero_cat(self.index).argsort()
        samples, real, others = (dim_zero_cat(getattr(self, n))[order].cpu() for n in self.names)
        distance, group = Frechet(real), torch.zeros(len(real))
        return distance.compute_from(samples, group), distance.compute_from(others, group)


class Kernel(FeatureMetric):
    """Kernel distance and its deviation over subsets of 1000.

    Bińkowski et al. 2018 (arXiv 1801.01401) define it, MMD² with the kernel (x·y/d + 1)³; where the
    features are Inception's it is KID. It is unbiased, so that few samples compare with many. None
    for fewer than 100 of either.
    """

    def compute_from(self, features, group):
        size = min(len(features), len(self.real), SUBSET)
        if size < FEW:
            return None
        distance = KernelInceptionDistance(
            feature=AsTheyAre(features.shape[1]), subset_size=size, sync_on_compute=False
        )
        distance.update(self.real, real=True)
        distance.update(features, real=False)
        # torchmetrics draws the subsets from the global generator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            mean, deviation = distance.compute()
        return float(mean), float(deviation)


class AsTheyAre(torch.nn.Module):
    """Takes features for images, as torchmetrics wants a network."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


class PrecisionRecall(FeatureMetric):
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 1–3).

        f(φ, Φ) = 1 if ‖φ − φ'‖ ≤ ‖φ' − NN_k(φ', Φ)‖ for some φ' ∈ Φ, else 0
        precision = mean of f(sample, real),   recall = mean of f(real, samples)

    None for fewer than 100 of either.

    Arguments:
        k: which neighbour bounds an image's surroundings.
    """

    def __init__(self, real: Tensor | None = None, k: int = 3):
        super().__init__(real)
        self.k = k

    def compute_from(self, features, group):
        if min(len(features), len(self.real)) < FEW:
            return None
        precision = manifold_coverage(features, self.real, self.k)
        return precision, manifold_coverage(self.real, features, self.k)


def manifold_coverage(points: Tensor, others: Tensor, k: int, part: int = 1000) -> float:
    """The share of points that lie nearer to some other than that one's k-th neighbour does.

    Arguments:
        points: (N, F).
        others: (M, F), whose neighbours are among themselves.
        k: which neighbour.
        part: rows of a matrix of distances at once.
    """
    # Each is its own nearest.
    radii = [torch.cdist(rows, others).kthvalue(k + 1, 1).values for rows in others.split(part)]
    radius = torch.cat(radii)
    covered = [(torch.cdist(rows, others) <= radius).any(1) for rows in points.split(part)]
    return torch.cat(covered).float().mean().item()


class Diversity(FeatureMetric):
    """Mean Euclidean distance between two samples of one condition, and its 95 % interval.

    Of a condition with more pairs than `PAIRS`, that many random ones count, the same in each run.
    The interval is over conditions. Both are None where none has two.
    """

    def compute_from(self, features, group):
        by_group = [pair_distances(features[group == g]) for g in group.unique()]
        distances = torch.cat(by_group)
        if not len(distances):
            return None
        sums = [[pairs.double().sum().item(), len(pairs)] for pairs in by_group if len(pairs)]
        return distances.mean().item(), bootstrap_of_sums(torch.tensor(sums))


def pair_distances(points: Tensor) -> Tensor:
    """The distances of all pairs of points; of more than `PAIRS` pairs, those of a random `PAIRS`.

    Arguments:
        points: (N, F).
    """
    count = len(points)
    if count * (count - 1) // 2 <= PAIRS:
        return torch.pdist(points)
    generator = torch.Generator().manual_seed(0)
    one = torch.randint(count, (PAIRS,), generator=generator)
    # Any of the others, each as often.
    other = (one + torch.randint(1, count, (PAIRS,), generator=generator)) % count
    parts = zip(one.split(PART), other.split(PART), strict=True)
    return torch.cat([(points[a] - points[b]).norm(dim=1) for a, b in parts])
