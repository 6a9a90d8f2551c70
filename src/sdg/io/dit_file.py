"""State dicts of DiT and SiT, which have one layout."""

import math
from collections.abc import Mapping

from torch import Tensor

from sdg.errors import choice, integer
from sdg.io.denoiser_file import DenoiserFile, MissingSettings
from sdg.io.state_dict import StateDict

__all__ = ["from_dit", "is_dit"]

KIND = "a transformer of DiT and SiT"
FAMILIES = ("dit", "sit")
DIT = "DiT, arXiv 2212.09748"
SIT = "SiT, arXiv 2401.08740"
LABELS = "published: one row is no class"
HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}  # of the published widths


def is_dit(names) -> bool:
    """Whether a state dict has such names."""
    return {"x_embedder.proj.weight", "y_embedder.embedding_table.weight"} <= set(names)


def from_dit(tensors: Mapping[str, Tensor], given: Mapping, path: str) -> DenoiserFile:
    """The denoiser of a DiT or a SiT.

    DiT predicts ε and learns Σ. SiT's time is 1 − τ, from noise at 0 to the image at 1, and its
    velocity is x_0 − ε: the last layer's sign is turned, so that it gives ε − x_0. The second half
    of its outputs, where there is one, is never used in its code, and is left out.

    Arguments:
        tensors: of the file, under its own names.
        given: `family`, `dit` or `sit`; and `heads`, of a width that was never published.
        path: of the file, for messages.

    Raises:
        MissingSettings: the file does not tell which of the two it is, or its heads.
        UserError: a tensor is missing, or the sizes do not fit together.
    """
    file = StateDict(tensors, given, path, KIND, ("family", "heads"))
    network, family, doubled = network_of(file)
    channels, patch, classes = network["channels"], network["patch"], network["classes"]
    resolution = math.isqrt(file.shape("pos_embed", 3)[1]) * patch
    file.settle("classes", f"{classes}; {classes} is no class", LABELS)
    file.settle("resolution", resolution, "the file")
    file.settle("channels", channels, "the file")
    if family == "dit":
        denoiser, kind = dit_settings(file), "linear"
    else:
        denoiser, kind = sit_settings(file), "flow"
        tensors = negated(tensors, patch, channels, doubled)
    schedule = {"kind": file.settle("schedule", kind, DIT if family == "dit" else SIT), "T": 1000}
    return DenoiserFile(
        path,
        {
            "denoiser": {**denoiser, "clip": False, "architecture": "dit", "network": network},
            "schedule": schedule,
            "resolution": resolution,
        },
        {f"network.{name}": value for name, value in tensors.items()},
        f"a {'DiT' if family == 'dit' else 'SiT'}, {network['depth']} blocks of "
        f"{network['width']} channels, patches of {patch}",
        file.sources,
    )


def network_of(file: StateDict) -> tuple[dict, str, bool]:
    """(the arguments of `DiT`, dit or sit, whether it gives twice the channels that it reads)."""
    width, channels, patch, _ = file.shape("x_embedder.proj.weight", 4)
    tokens = file.shape("pos_embed", 3)[1]
    outputs = file.shape("final_layer.linear.weight", 2)[0]
    square = math.isqrt(tokens) ** 2 == tokens
    if not square or outputs not in (patch**2 * channels, 2 * patch**2 * channels):
        raise file.refuse(
            f"{tokens} tokens of {outputs} numbers are no square image of {channels} channels, nor "
            f"of {2 * channels}"
        )
    if file.shape("final_layer.linear.bias", 1)[0] != outputs:
        raise file.refuse("its last layer's weight and bias have different lengths")
    doubled = outputs == 2 * patch**2 * channels
    family, heads = family_and_heads(file, doubled, width)
    network = {
        "channels": channels,
        "outputs": 2 * channels if family == "dit" else channels,
        "patch": patch,
        "width": width,
        "depth": file.count("blocks"),
        "heads": heads,
        "hidden": file.shape("blocks.0.mlp.fc1.weight", 2)[0],
        "classes": file.shape("y_embedder.embedding_table.weight", 2)[0] - 1,
    }
    return network, family, doubled


def family_and_heads(file: StateDict, doubled: bool, width: int) -> tuple[str, int]:
    """(dit or sit, heads of its attention).

    Arguments:
        doubled: whether it gives twice as many channels as it reads, as every DiT does.
    """
    missing: dict[tuple[str, ...], str] = {}
    if doubled and "family" not in file.given:
        missing["family",] = "to dit or sit"
    if width not in HEADS and "heads" not in file.given:
        missing["heads",] = f"to those of its attention, {width} channels wide"
    if missing:
        raise MissingSettings(
            f"{file.path} is {file.kind}, which share a layout, and cannot tell all that it takes "
            "to use it",
            file.kind,
            missing,
        )
    family = choice("family", file.settle("family", "sit", "no Σ"), FAMILIES)
    if family == "dit" and not doubled:
        raise file.refuse("it has no Σ, which every DiT has; leave family out")
    heads = integer("heads", file.settle("heads", HEADS.get(width), DIT), 1)
    if width % heads:
        raise file.refuse(f"{heads} heads do not divide {width} channels; set heads")
    return family, heads


def dit_settings(file: StateDict) -> dict:
    """What `Denoiser` takes for a DiT."""
    return {
        "prediction": file.settle("prediction", "epsilon", DIT),
        "variance": file.settle("variance", "learned_range", "the file"),
        "time": file.settle("time", "level", DIT),
    }


def sit_settings(file: StateDict) -> dict:
    """What `Denoiser` takes for a SiT."""
    return {
        "prediction": file.settle("prediction", "velocity", f"{SIT}, its sign turned"),
        "variance": file.settle("variance", "fixed_small", "default"),
        "time": file.settle("time", "signal", f"{SIT}: its t is 1 − τ"),
    }


def negated(
    tensors: Mapping[str, Tensor], patch: int, channels: int, doubled: bool
) -> dict[str, Tensor]:
    """The tensors with −1 times the last layer, of which only the velocity's rows are kept."""
    changed = dict(tensors)
    for part in ("weight", "bias"):
        name = f"final_layer.linear.{part}"
        if name in tensors:
            rows = tensors[name].unflatten(0, (patch**2, -1))
            changed[name] = -rows[:, :channels].flatten(0, 1) if doubled else -tensors[name]
    return changed
