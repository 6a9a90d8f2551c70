"""LPIPS: how different two images look."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image.lpips import _NoTrainLpips

__all__ = ["Perceptual", "pairs_within"]


class Perceptual(Metric):
    """Mean LPIPS of pairs of images (Zhang et al. 2018, arXiv 1801.03924); None without a pair.

    AlexNet computes the features that LPIPS compares.

    Arguments:
        tensors: torchvision's weights of AlexNet.

    Raises:
        KeyError: they are of another network.
        RuntimeError: as above.
    """

    full_state_update = False
    total: Tensor
    pairs: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        # Its own constructor would have AlexNet's weights unpickled.
        self.distance = _NoTrainLpips(net="alex", pnet_rand=True)
        network = self.distance.net
        features = {}
        for name in network.state_dict():  # such as slice2.3.weight
            features[name] = tensors[f"features.{name.partition('.')[2]}"]
        network.load_state_dict(features)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pairs", torch.tensor(0), dist_reduce_fx="sum")

    @torch.no_grad()
    def update(self, one: Tensor, other: Tensor) -> None:
        """Adds pairs, (B, 3, H, W) in [-1, 1] each."""
        self.total += self.distance(one, other).sum().double()
        self.pairs += len(one)

    def compute(self) -> float | None:
        return (self.total / self.pairs).item() if self.pairs else None


def pairs_within(group: Tensor) -> Tensor:
    """Every pair of places with the same group, (P, 2)."""
    pairs = [torch.combinations((group == g).nonzero()[:, 0]) for g in group.unique()]
    return torch.cat(pairs) if pairs else torch.empty(0, 2, dtype=torch.long)
