"""Gradient checkpointing of a tower's blocks (Chen et al. 2016, arXiv 1604.06174).

Their insides are computed again when the gradient needs them.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from sdg.models.stages import blocks

__all__ = ["Modulated", "recomputed"]


class Modulated(nn.Module):
    """A layer that holds what it is told during a pass."""

    modulation: Tensor | None


@contextmanager
def recomputed(tower: nn.Module, told: tuple[type[Modulated], ...]) -> Iterator[None]:
    """Within it a forward pass of the tower keeps what stands between its blocks only.

    Arguments:
        told: modules that hold a `modulation` during a pass, which a block gets again when it is
            computed again.
    """
    wrapped = [block for block in blocks(tower) if any(True for _ in block.parameters())]
    for block in wrapped:
        block.forward = functools.partial(
            run, block, [module for module in block.modules() if isinstance(module, told)]
        )
    try:
        yield
    finally:
        for block in wrapped:
            del block.forward  # the class's own is there again


def run(block: nn.Module, told: list[Modulated], *inputs: Any, **options: Any) -> Any:
    """The block's output, by way of torch's checkpoint."""
    statistics = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    momenta, passes = [norm.momentum for norm in statistics], 0

    def forward(modulations: list[Tensor | None], *inputs: Any) -> Any:
        nonlocal passes
        for module, modulation in zip(told, modulations, strict=True):
            module.modulation = modulation
        for norm, momentum in zip(statistics, momenta, strict=True):
            norm.momentum = 0.0 if passes else momentum  # running statistics take each batch once
        try:
            return type(block).forward(block, *inputs, **options)
        finally:
            for norm, momentum in zip(statistics, momenta, strict=True):
                norm.momentum = momentum
                if passes and norm.training and norm.num_batches_tracked is not None:
                    norm.num_batches_tracked.sub_(1)
            passes += 1
            for module in told:
                module.modulation = None

    return checkpoint(forward, [module.modulation for module in told], *inputs, use_reentrant=False)
