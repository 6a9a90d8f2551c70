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
    """A layer that holds a modulation during a pass."""

    modulation: Tensor | None


@contextmanager
def recomputed(tower: nn.Module, modulated: tuple[type[Modulated], ...]) -> Iterator[None]:
    """Within it a forward pass of the tower keeps what stands between its blocks only.

    Arguments:
        modulated: modules that hold a `modulation` during a pass, which a block gets again when it
            is computed again.
    """
    wrapped = [block for block in blocks(tower) if next(block.parameters(), None) is not None]
    for block in wrapped:
        layers = [module for module in block.modules() if isinstance(module, modulated)]
        block.forward = functools.partial(run, block, layers)
    try:
        yield
    finally:
        for block in wrapped:
            del block.forward  # the class's own is there again


def run(block: nn.Module, layers: list[Modulated], *inputs: Any, **options: Any) -> Any:
    """The block's output, by way of torch's checkpoint."""
    statistics = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    momenta, passes = [norm.momentum for norm in statistics], 0

    def forward(modulations: list[Tensor | None], *inputs: Any) -> Any:
        nonlocal passes
        for module, modulation in zip(layers, modulations, strict=True):
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
            for module in layers:
                module.modulation = None

    return checkpoint(
        forward, [module.modulation for module in layers], *inputs, use_reentrant=False
    )
