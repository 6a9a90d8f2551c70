"""Where the object is, and how much that varies."""

import torch
from torch import Tensor

__all__ = ["centres", "intersection_over_union", "spread_within"]


def intersection_over_union(one: Tensor, other: Tensor) -> Tensor:
    """|A ∩ B| / |A ∪ B| of each pair of masks, booleans (B, H, W): (B,).

    Two empty ones agree, 1.
    """
    union = (one | other).flatten(1).sum(1)
    return torch.where(union > 0, (one & other).flatten(1).sum(1) / union.clamp(min=1), 1.0)


def centres(masks: Tensor) -> Tensor:
    """The masks' centres of mass in fractions of the image's side, (B, 2) as (x, y).

    An empty mask is at the image's centre.
    """
    side = torch.arange(masks.shape[-1], device=masks.device) + 0.5
    m = masks.float()
    mass = m.flatten(1).sum(1).clamp(min=1e-9)
    moments = torch.stack([(m.sum(1) * side).sum(1), (m.sum(2) * side).sum(1)], 1)
    centre = moments / mass[:, None] / masks.shape[-1]
    return torch.where(masks.flatten(1).any(1)[:, None], centre, 0.5)


def spread_within(points: Tensor, groups: list[str]) -> float | None:
    """Root mean square distance of points (B, D) from the mean of their group.

    It is None where no group has two.
    """
    squares, degrees = 0.0, 0
    for group in dict.fromkeys(groups):
        rows = points[torch.tensor([g == group for g in groups], device=points.device)]
        squares += (rows - rows.mean(0)).square().sum().item()
        degrees += len(rows) - 1
    return (squares / degrees) ** 0.5 if degrees else None
