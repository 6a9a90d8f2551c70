"""State dicts of JiT."""

import math
from collections.abc import Mapping

from torch import Tensor

from sdg.io.denoiser_file import DenoiserFile
from sdg.io.state_dict import StateDict

__all__ = ["from_jit", "is_jit"]

JIT = "JiT, arXiv 2511.13720"
STARTS = {12: 4, 24: 8, 32: 10}  # the block that class tokens join before, of the published depths
STRENGTHS = {256: 1.0, 512: 2.0}  # of the flow's noise, of the published resolutions


def is_jit(names) -> bool:
    """Whether a state dict has such names."""
    return bool({"net.in_context_posemb", "in_context_posemb"} & set(names))


def from_jit(tensors: Mapping[str, Tensor], given: Mapping, path: str) -> DenoiserFile:
    """The denoiser of a JiT.

    It gives x_0 of z = t x_0 + (1 − t) s ε, and is told t, which is 1 − τ. s, the strength of the
    noise, is 1 at 256 pixels and 2 at 512.

    Arguments:
        tensors: of the file, under its own names.
        given: nothing is asked of such a file.
        path: of the file, for messages.

    Raises:
        UserError: a tensor is missing, the sizes do not fit together, or depth or resolution are
            none that was published.
    """
    tensors = {name.removeprefix("net."): value for name, value in tensors.items()}
    file = StateDict(tensors, given, path, "a JiT")
    network, resolution = network_of(file)
    file.settle("classes", f"{network['classes']}; {network['classes']} is no class", JIT)
    file.settle("resolution", resolution, "the file")
    denoiser = {
        "prediction": file.settle("prediction", "flow_x0", JIT),
        "variance": file.settle("variance", "fixed_small", "default"),
        "time": file.settle("time", "signal", f"{JIT}: its t is 1 − τ"),
        "noise_scale": file.settle("noise_scale", STRENGTHS[resolution], JIT),
        "clip": False,
        "architecture": "jit",
        "network": network,
    }
    schedule = {"kind": file.settle("schedule", "flow", JIT), "T": 1000}
    return DenoiserFile(
        path,
        {"denoiser": denoiser, "schedule": schedule, "resolution": resolution},
        {f"network.{name}": value for name, value in tensors.items()},
        f"a JiT, {network['depth']} blocks of {network['width']} channels, patches of "
        f"{network['patch']}",
        file.sources,
    )


def network_of(file: StateDict) -> tuple[dict, int]:
    """(the arguments of `JiT`, the resolution of its images)."""
    bottleneck, channels, patch, _ = file.shape("x_embedder.proj1.weight", 4)
    _, tokens, width = file.shape("pos_embed", 3)
    side, depth, head = math.isqrt(tokens), file.count("blocks"), head_of(file, width)
    resolution = side * patch
    outputs = file.shape("final_layer.linear.weight", 2)[0]
    if side**2 != tokens or outputs != patch**2 * channels:
        raise file.refuse(
            f"{tokens} tokens of {outputs} numbers are no square image of {channels} channels"
        )
    if depth not in STARTS or resolution not in STRENGTHS:
        raise file.refuse(
            f"it has {depth} blocks and images of {resolution} pixels: where its class tokens join "
            f"and how strong its noise is are known of {plain(STARTS)} blocks and of "
            f"{plain(STRENGTHS)} pixels alone"
        )
    network = {
        "channels": channels,
        "patch": patch,
        "bottleneck": bottleneck,
        "width": width,
        "depth": depth,
        "heads": width // head,
        "hidden": file.shape("blocks.0.mlp.w3.weight", 2)[1],
        "context": file.shape("in_context_posemb", 3)[1],
        "start": file.settle("class tokens from block", STARTS[depth], JIT),
        "classes": file.shape("y_embedder.embedding_table.weight", 2)[0] - 1,
    }
    return network, resolution


def head_of(file: StateDict, width: int) -> int:
    """Channels of an attention head.

    Raises:
        UserError: they cannot be turned by rows and columns, or do not divide the width.
    """
    head = file.shape("blocks.0.attn.q_norm.weight", 1)[0]
    if width % head or head % 4:
        raise file.refuse(f"heads of {head} channels do not suit a width of {width}")
    return head


def plain(table: Mapping[int, float]) -> str:
    """The keys in words."""
    *most, last = map(str, table)
    return f"{', '.join(most)} or {last}"
