"""State dicts of EDM's networks, SongUNet and DhariwalUNet."""

import re
from collections.abc import Mapping

from torch import Tensor

from sdg.errors import choice
from sdg.io.denoiser_file import DenoiserFile, MissingSettings
from sdg.io.state_dict import StateDict

__all__ = ["edm_settings", "from_edm", "is_edm", "sides_of"]

EDM = "EDM, arXiv 2206.00364"
UNUSED = "map_augment.weight"  # of training's augmentation, which sampling leaves out


def is_edm(names) -> bool:
    """Whether a state dict has such names."""
    return bool({"model.map_layer0.weight", "map_layer0.weight"} & set(names))


def from_edm(tensors: Mapping[str, Tensor], given: Mapping, path: str) -> DenoiserFile:
    """The denoiser of an EDM network.

    Arguments:
        tensors: of the file, under its own names.
        given: `family=edm`, for a file without the weights of EDM's augmentation: Karras et al.
            published others' networks in this layout too, with other preconditioning.
        path: of the file, for messages.

    Raises:
        MissingSettings: it may be one of these others.
        UserError: a tensor is missing, or the sizes do not fit together.
    """
    tensors = {name.removeprefix("model."): value for name, value in tensors.items()}
    file = StateDict(tensors, given, path, "an EDM U-Net", ("family",))
    if "u" in tensors:
        raise file.refuse("with iDDPM's preconditioning; EDM's own is what is known")
    sides = sides_of(file)
    song = f"dec.{sides[0]}x{sides[0]}_aux_conv.weight" in tensors
    if song and UNUSED not in tensors and "family" not in given:
        raise MissingSettings(
            f"{path} is a SongUNet without the augmentation that EDM trains with, so it may be a "
            "VP or VE baseline",
            file.kind,
            {("family",): "to edm if it has EDM's preconditioning"},
        )
    choice("family", file.settle("family", "edm", "its layout"), ("edm",))
    network = network_of(file, sides, song)
    file.settle("classes", network["classes"] or "unconditional", "the file")
    denoiser = {**edm_settings(file, EDM), "architecture": "edm", "network": network}
    resampling = f"filters of {network['taps']} taps"
    return DenoiserFile(
        path,
        {"denoiser": denoiser, "schedule": {"kind": "edm", "T": 1000}, "resolution": sides[0]},
        {f"network.{name}": value for name, value in tensors.items() if name != UNUSED},
        f"an EDM {'SongUNet' if song else 'DhariwalUNet'}, {network['widths']} channels, "
        f"{network['blocks']} blocks a level, {resampling}",
        file.sources,
    )


def sides_of(file: StateDict, prefix: str = "enc") -> list[int]:
    """The resolutions of the levels, from the names, the largest first.

    Raises:
        UserError: they are not each half of the one before.
    """
    pattern = re.compile(rf"{prefix}\.(\d+)x\1_")
    matches = (pattern.match(name) for name in file.tensors)
    sides = sorted({int(match[1]) for match in matches if match}, reverse=True)
    if not sides or sides != [sides[0] >> level for level in range(len(sides))]:
        raise file.refuse(f"its levels have the resolutions {sides}, which do not halve")
    return sides


def network_of(file: StateDict, sides: list[int], song: bool) -> dict:
    """`EDMUNet`'s arguments."""
    top = f"{sides[0]}x{sides[0]}"
    first, channels = file.shape(f"enc.{top}_conv.weight", 4)[:2]
    embedding, noise = file.shape("map_layer0.weight", 2)
    filters = [value.shape[-1] for name, value in file.tensors.items() if "resample_f" in name]
    taps = filters[0] if filters else 2
    if taps not in (2, 4):
        raise file.refuse(f"its filters have {taps} taps, not 2 or 4")
    classes = 0
    if "map_label.weight" in file.tensors:
        classes = file.shape("map_label.weight", 2)[1]
    blocks = 0
    while f"enc.{top}_block{blocks}.conv1.weight" in file.tensors:
        blocks += 1
    return {
        "channels": channels,
        "song": song,
        "first": first,
        "widths": [file.shape(f"enc.{side}x{side}_block0.conv1.weight", 4)[0] for side in sides],
        "blocks": blocks,
        "attention": [
            side for side in sides if f"enc.{side}x{side}_block0.qkv.weight" in file.tensors
        ],
        "noise": noise,
        "embedding": embedding,
        "fourier": "map_noise.freqs" in file.tensors,
        "residual": any("_aux_residual." in name for name in file.tensors),
        "taps": taps,
        "classes": classes,
    }


def edm_settings(file: StateDict, source: str) -> dict:
    """What `Denoiser` takes for a network with EDM's preconditioning."""
    file.settle("schedule", "edm, σ from 0.002 to 80, ρ = 7", EDM)
    file.settle("sigma_data", 0.5, source)
    return {
        "prediction": file.settle("prediction", "edm", source),
        "variance": file.settle("variance", "fixed_small", "default"),
        "time": file.settle("time", "log_sigma", source),
        "time_scale": file.settle("time_scale", 0.25, source),
        "clip": False,
    }
