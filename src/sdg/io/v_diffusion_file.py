"""State dicts of v-diffusion's U-Nets."""

from collections.abc import Mapping

from torch import Tensor

from sdg.errors import integer
from sdg.io.denoiser_file import DenoiserFile
from sdg.io.state_dict import StateDict

__all__ = ["from_v_diffusion", "is_v_diffusion"]

SOURCE = "v-diffusion"
SMALLEST = 4  # side of the deepest level, of all published ones
# Whether a ReLU ends it, of the models from JAX, by (blocks a level, whether it has attention):
# danbooru_128; imagenet_128 and wikiart_256; wikiart_128.
LAST_RELU = {(2, True): True, (4, True): False, (4, False): True}


def is_v_diffusion(names) -> bool:
    """Whether a state dict has such names."""
    return {"timestep_embed.weight", "net.0.main.0.weight"} <= set(names)


def from_v_diffusion(tensors: Mapping[str, Tensor], given: Mapping, path: str) -> DenoiserFile:
    """The denoiser of a v-diffusion U-Net.

    Its time is φ in [0, 1], with α = cos(π φ/2) and σ = sin(π φ/2). The four models from JAX are
    given log α²/σ² in its place.

    Arguments:
        tensors: of the file, under its own names.
        given: `resolution`, if it is not the one that its levels halve to 4.
        path: of the file, for messages.

    Raises:
        UserError: it is conditioned on an embedding of CLIP, a tensor is missing, or the sizes do
            not fit together.
    """
    file = StateDict(tensors, given, path, "a U-Net of v-diffusion", ("resolution",))
    if "mapping_timestep_embed.weight" in tensors:
        raise file.refuse(
            "one that is conditioned on an embedding of CLIP, as cc12m_1 is, which is not known "
            "here; those without one are"
        )
    network = network_of(file)
    halvings = len(network["widths"]) - 1
    file.settle("classes", "unconditional", "the file")
    side = file.settle("resolution", SMALLEST << halvings, f"published: it ends at {SMALLEST}")
    side = integer("resolution", side, 1)
    if side % 2**halvings:
        raise file.refuse(f"it halves its images {halvings} times, so not resolution={side}")
    ported = network["ported"]
    time, scale = ("log_sigma", -2.0) if ported else ("angle", 1.0)
    file.settle("time", "log α²/σ²" if ported else "φ of α = cos(π φ/2)", SOURCE)
    kind = "linear_continuous" if ported else "cosine_spliced"
    denoiser = {
        "prediction": file.settle("prediction", "v", SOURCE),
        "variance": file.settle("variance", "fixed_small", "default"),
        "time": time,
        "time_scale": scale,
        "clip": False,
        "architecture": "v_diffusion",
        "network": network,
    }
    schedule = {"kind": file.settle("schedule", kind, SOURCE), "T": 1000}
    return DenoiserFile(
        path,
        {"denoiser": denoiser, "schedule": schedule, "resolution": side},
        {f"network.{name}": value for name, value in tensors.items()},
        f"a U-Net of v-diffusion, {network['widths']} channels, {network['blocks']} blocks a level",
        file.sources,
    )


def network_of(file: StateDict) -> dict:
    """`VDiffusionUNet`'s arguments."""
    widths, counts, attention = levels_of(file)
    blocks = counts[0]
    if len(counts) == 1 or counts != [blocks] * (len(counts) - 1) + [2 * blocks]:
        raise file.refuse(f"its levels have {counts} blocks on the way down")
    inside = file.shape("net.0.main.0.weight", 4)[1]
    features = 2 * file.shape("timestep_embed.weight", 2)[0]
    ported = not any(name.endswith(".norm.weight") for name in file.tensors)
    for level in attention:
        head = 128 if ported else 64
        for width in (widths[level], widths[level - 1] if level else inside - features):
            if width % head:
                raise file.refuse(
                    f"attention of {width} channels, which heads of {head} do not divide"
                )
    last_relu = ported
    if ported:
        if (blocks, bool(attention)) not in LAST_RELU:
            raise file.refuse(
                f"{blocks} blocks a level {'with' if attention else 'without'} attention, of which "
                "nobody published whether a ReLU ends them"
            )
        last_relu = LAST_RELU[blocks, bool(attention)]
    return {
        "channels": inside - features,
        "features": features,
        "widths": widths,
        "blocks": blocks,
        "attention": attention,
        "ported": ported,
        "last_relu": last_relu,
    }


def levels_of(file: StateDict) -> tuple[list[int], list[int], list[int]]:
    """(channels of the levels, blocks of each before the next one, levels with attention).

    A level's modules are numbered: below the first one, 0 halves the resolution; blocks, each with
    its attention, follow; then comes the next level.
    """
    widths: list[int] = []
    counts: list[int] = []
    attention: list[int] = []
    level, first = "net", 0
    while True:
        widths.append(file.shape(f"{level}.{first}.main.0.weight", 4)[0])
        stride = 1
        if f"{level}.{first + 1}.qkv_proj.weight" in file.tensors:
            attention.append(len(counts))
            stride = 2
        place, count = first, 0
        while f"{level}.{place}.main.0.weight" in file.tensors:
            place, count = place + stride, count + 1
        counts.append(count)
        level, first = f"{level}.{place}.main", 1
        if f"{level}.{first}.main.0.weight" not in file.tensors:
            return widths, counts, attention
