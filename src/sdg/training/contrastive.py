"""The contrastive loss that trains CLIP and makes it noise-aware."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["contrastive_loss"]


def contrastive_loss(
    a: Tensor,
    b: Tensor,
    scale: float | Tensor,
    gather: Callable[[Tensor], Tensor] = lambda z: z[None],
    rank: int = 0,
) -> Tensor:
    """½ [CE(c·a Bᵀ) + CE(c·b Aᵀ)] with the matched pairs on the diagonal.

    This is the loss of CLIP (Radford et al. 2021, arXiv 2103.00020, fig. 3).

    Arguments:
        a, b: unit embeddings of this rank's pairs, (N, D).
        scale: c, what cosines are multiplied by before the softmax.
        gather: from (N, D) to every rank's, (ranks, N, D), with gradient; A and B are what it
            returns.
        rank: this process's place among them.
    """
    labels = torch.arange(len(a), device=a.device) + rank * len(a)
    # In fp32 whatever surrounds it: near 100 two neighbouring bfloat16 numbers are 0.5 apart.
    with torch.autocast(a.device.type, enabled=False):
        a, b = (e.to(torch.promote_types(e.dtype, torch.float32)) for e in (a, b))
        everyone_a, everyone_b = gather(a).flatten(0, 1), gather(b).flatten(0, 1)
        return (
            F.cross_entropy(scale * a @ everyone_b.T, labels)
            + F.cross_entropy(scale * b @ everyone_a.T, labels)
        ) / 2
