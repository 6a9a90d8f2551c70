"""LPIPS: how different two images look."""

from pathlib import Path

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from sdg.errors import UserError

__all__ = ["Perceptual", "pairs_within"]

FILE = "alexnet-owt-7be5be79.pth"


class Perceptual(Metric):
    """Mean LPIPS of pairs of images; None without a pair.

    It is that of Zhang et al. 2018 (arXiv 1801.03924), by AlexNet.

    Raises:
        UserError: AlexNet's weights are not in torch's hub cache and cannot be fetched.
    """

    full_state_update = False
    total: Tensor
    pairs: Tensor

    def __init__(self):
        super().__init__()
        try:
            self.distance = LearnedPerceptualImagePatchSimilarity(
                net_type="alex", reduction="sum", sync_on_compute=False
            )
        except OSError as error:
            raise UserError(
                f"eval.lpips: AlexNet's weights cannot be fetched ({error}); put {FILE} into "
                f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or eval.lpips=false."
            ) from error
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pairs", torch.tensor(0), dist_reduce_fx="sum")

    @torch.no_grad()
    def update(self, one: Tensor, other: Tensor) -> None:
        """Adds pairs, (B, 3, H, W) in [-1, 1] each."""
        self.total += self.distance(one, other).double()
        self.pairs += len(one)

    def compute(self) -> float | None:
        return (self.total / self.pairs).item() if self.pairs else None


def pairs_within(group: Tensor) -> Tensor:
    """Every pair of places with the same group, (P, 2)."""
    pairs = [torch.combinations((group == g).nonzero()[:, 0]) for g in group.unique()]
    return torch.cat(pairs) if pairs else torch.empty(0, 2, dtype=torch.long)
