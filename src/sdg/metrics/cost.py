"""What a sample costs.

That is passes of each network, forward and backward, floating-point operations, memory.
"""

import resource
import sys
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Meter", "Network", "peak_memory", "reset_peak_memory"]


class Network(NamedTuple):
    """A network to be metered.

    Attributes:
        module: every pass goes through it.
        call: sends a batch of images through it.
        inside: the other network that `call` sends them through too, whose passes are counted by
            themselves.
    """

    module: nn.Module
    call: Callable[[Tensor], Tensor]
    inside: str | None = None


class Meter:
    """Counts the passes of networks over single images.

    FLOPs are counted by torch's FlopCounterMode for one image through each network, and multiplied:
    every pass over an image costs the same.

    Arguments:
        networks: {name: network}.
    """

    def __init__(self, networks: dict[str, Network]):
        self.counts: Counter[str] = Counter()
        self.networks = networks
        self.hooks = [
            network.module.register_forward_hook(
                lambda module, args, output, name=name: self.forward(name, len(args[0]), output)
            )
            for name, network in networks.items()
        ]

    def forward(self, name: str, images: int, output) -> None:
        self.counts[f"{name}_forwards"] += images
        output = getattr(output, "sample", output)
        if output.requires_grad:
            output.register_hook(lambda grad: self.counts.update({f"{name}_backwards": images}))

    def close(self, image: Tensor) -> dict[str, float]:
        """Stops counting; the counts, and the FLOPs of them all.

        Arguments:
            image: one of those that were passed, (3, H, W).
        """
        for hook in self.hooks:
            hook.remove()
        each = {name: flops_of_one(net.call, image) for name, net in self.networks.items()}
        counts: dict[str, float] = {}
        flops = 0
        for name, network in self.networks.items():
            for k, way in enumerate(("forwards", "backwards")):
                inside = each[network.inside][k] if network.inside else 0
                count = self.counts[f"{name}_{way}"]
                counts[f"{name}_{way}"] = count
                flops += count * (each[name][k] - inside)
        return counts | {"flops": flops}


def flops_of_one(call: Callable[[Tensor], Tensor], image: Tensor) -> tuple[int, int]:
    """The FLOPs of one image forward, and of the gradient with respect to it."""
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        x = image[None].detach().float().requires_grad_()
        output = call(x)
        forward = counter.get_total_flops()
        output.sum().backward()
    return forward, counter.get_total_flops() - forward


def reset_peak_memory(device: torch.device) -> None:
    """Starts anew what `peak_memory` gives of a GPU.

    Of a process on the CPU, no system forgets it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """The most memory that was held, in bytes.

    That is what the GPU held for this process since it was reset, on the CPU what the whole process
    ever did, earlier jobs of a sweep included.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
