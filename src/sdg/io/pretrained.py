"""Any file that holds a denoiser, to what our own files hold.

That is a config that rebuilds it, and tensors.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from sdg.diffusion.schedule import KINDS, Schedule
from sdg.errors import UserError, choice, first_line, integer, number
from sdg.io.adm import Layout, converted, family_of, layout_of, network_of
from sdg.io.hub import located
from sdg.io.weights import header, read

__all__ = ["ASKED", "PREDICTIONS", "Found", "Unsettled", "open_denoiser", "tensors_of"]

ASKED = (
    "resolution",
    "schedule",
    "T",
    "heads",
    "head_width",
    "qkv",
    "time_scale",
    "variance",
)  # what a user may say of an ADM file
WRAPPERS = (
    "ema",
    "model_ema",
    "state_dict",
    "model",
)  # under which training scripts keep the weights
PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}
VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
    "learned_range": "learned_range",
}


class Found(NamedTuple):
    """A denoiser as a file has it.

    Arguments:
        path: where.
        config: what rebuilds it, as in our own files: `denoiser`, `schedule`, `resolution`.
        tensors: of the network.
        kind: of file.
        told: {setting: (value, who says so)}, for people.
    """

    path: str
    config: dict
    tensors: dict[str, Tensor]
    kind: str
    told: dict[str, tuple[object, str]]


class Unsettled(UserError):
    """A file cannot tell all that it takes to use it.

    Arguments:
        kind: of file.
        missing: the settings that somebody must say.
    """

    def __init__(self, message: str, kind: str, missing: list[str]):
        super().__init__(message)
        self.kind, self.missing = kind, missing


def open_denoiser(path: str | Path, asked: Mapping | None = None) -> Found:
    """Reads a denoiser, of this project or of others.

    It is our own safetensors or folder, a diffusers folder, the name of either on the hub, or an
    ADM .pt or .safetensors.

    Arguments:
        path: of the file or folder, or `owner/name` on the Hugging Face hub.
        asked: of `ASKED`, what the user says of an ADM file; it goes before what its family says.
            None is left to the file.

    Raises:
        UserError: nothing is there, it is damaged, it is none of these, or what it cannot tell is
            not known.
    """
    said = {name: value for name, value in (asked or {}).items() if value is not None}
    place = located(path)
    ours = header(place) is not None
    if place.is_file() and not ours:
        return from_adm(tensors_of(place), said, str(path))
    if said:
        raise UserError(
            f"{path} says everything itself; leave out "
            f"{', '.join(f'denoiser.{name}' for name in said)}."
        )
    if ours:
        config, tensors = read(place, "denoiser")
        return Found(
            str(path),
            config,
            tensors,
            f"a {'folder' if place.is_dir() else 'file'} of this project",
            {},
        )
    return from_diffusers(place)


def tensors_of(file: Path) -> dict[str, Tensor]:
    """The tensors of somebody else's .safetensors, or of a pickle.

    A pickle is read without running code.
    """
    if file.suffix == ".safetensors":
        header(file)  # says what is damaged
        return load_file(str(file))
    try:
        found = torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except Exception as error:  # pickle, zip and torch each have errors of their own
        raise UserError(
            f"{file} is no file of weights, or one that needs code to be read, which is never run "
            "here."
        ) from error
    for name in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping) or not all(
        isinstance(value, Tensor) for value in found.values()
    ):
        raise UserError(f"{file} holds no state dict, names with a tensor each.")
    return {name.removeprefix("module."): value for name, value in found.items()}


def from_adm(tensors: Mapping[str, Tensor], said: Mapping, path: str) -> Found:
    """An ADM state dict; what it cannot tell, the user says or its family."""
    layout = layout_of(tensors)
    family = family_of(layout)
    told: dict[str, tuple[object, str]] = {}

    def settle(name: str, known, source: str = family.name if family else "the usual"):
        told[name] = (said[name], "you") if name in said else (known, source)
        return told[name][0]

    if "heads" in said and "head_width" in said:
        raise UserError("give denoiser.heads or denoiser.head_width, not both.")
    missing = (
        []
        if family
        else [
            f"denoiser.{name}"
            for name in ("resolution", "schedule", "T", "qkv")
            if name not in said
        ]
    )
    if not family and not {"heads", "head_width"} & said.keys():
        missing.append("denoiser.heads or denoiser.head_width")
    if missing:
        raise Unsettled(
            f"{path} is an ADM U-Net that no published family has ({described(layout)}), and it "
            f"cannot tell the rest: set {', '.join(missing)}, as in its training flags.",
            f"an ADM U-Net, {described(layout)}",
            missing,
        )
    if "heads" in said or ("head_width" not in said and family.heads):
        heads, head_width = (
            integer("denoiser.heads", settle("heads", family and family.heads), 1),
            None,
        )
    else:
        heads, head_width = (
            None,
            integer("denoiser.head_width", settle("head_width", family and family.head_width), 1),
        )
    qkv = choice("denoiser.qkv", settle("qkv", family and family.qkv), ("heads_first", "qkv_first"))
    schedule = Schedule(
        choice("denoiser.schedule", settle("schedule", family and family.schedule), KINDS),
        integer("denoiser.T", settle("T", family and family.T), 1),
    )
    resolution = integer(
        "denoiser.resolution", settle("resolution", family and family.resolution), 1
    )
    time_scale = number(
        "denoiser.time_scale", settle("time_scale", family.time_scale if family else 1.0), 1e-6
    )
    variance = (
        settle("variance", "learned_range", "the file")
        if layout.learned
        else settle("variance", "fixed_large", "the usual")
    )
    if (variance == "learned_range") != layout.learned:
        raise UserError(
            f"denoiser.variance={variance}, but {path} "
            f"{'learned its variance' if layout.learned else 'learned none'}; "
            f"{'leave it out' if layout.learned else 'set fixed_large or fixed_small'}."
        )
    named = converted(tensors, layout, heads, head_width, qkv)
    widths = {layout.widths[level] for level in layout.attention} | {layout.widths[-1]}
    if (
        heads and len(widths) == 1
    ):  # as many heads everywhere are then heads of one width everywhere
        heads, head_width = None, widths.pop() // heads
    denoiser = {
        "prediction": "epsilon",
        "variance": variance,
        "clip": True,
        "time_scale": time_scale,
        "heads": heads,
        "sinusoid": None if layout.channels == layout.widths[0] else layout.channels,
        "network": network_of(layout, head_width or 32),
    }
    return Found(
        path,
        {"denoiser": denoiser, "schedule": schedule.config, "resolution": resolution},
        {f"network.{name}": value for name, value in named.items()},
        f"an ADM U-Net, {described(layout)}",
        told,
    )


def described(layout: Layout) -> str:
    """A layout in words."""
    multipliers = ",".join(f"{width / layout.channels:g}" for width in layout.widths)
    return (
        f"{layout.channels} channels × {multipliers}, {layout.blocks} blocks a level, attention at "
        f"levels {','.join(map(str, layout.attention))}, "
        f"{'scale and shift' if layout.scale_shift else 'additive t'}, "
        f"{'residual' if layout.resnet_resampling else 'convolutional'} resampling, "
        f"{'learned' if layout.learned else 'fixed'} Σ, "
        f"{f'{layout.classes} classes' if layout.classes else 'unconditional'}"
    )


def from_diffusers(folder: Path) -> Found:
    """A folder with a `UNet2DModel` and a scheduler's config, as diffusers writes it.

    They lie beside each other or in folders of their own.
    """
    from diffusers import DDPMScheduler, UNet2DModel

    model = inside(folder, "unet", "config.json")
    said, options = (
        described_in(model),
        described_in(inside(folder, "scheduler", "scheduler_config.json")),
    )
    size = said.get("sample_size")
    if (
        said.get("_class_name") != "UNet2DModel"
        or said.get("in_channels", 3) != 3
        or not isinstance(size, int)
    ):
        raise UserError(
            f"{model} describes a {said.get('_class_name')} for {said.get('in_channels')} channels "
            f"and the size {size}; a UNet2DModel of square RGB images is needed."
        )
    variance = VARIANCES.get(options.get("variance_type", "fixed_small"))
    prediction = PREDICTIONS.get(options.get("prediction_type", "epsilon"))
    if options.get("thresholding") or options.get("clip_sample_range", 1) != 1:
        raise UserError(
            f"{folder}: its scheduler clips x̂_0 otherwise than to [-1, 1] "
            f"(thresholding={options.get('thresholding')}, "
            f"clip_sample_range={options.get('clip_sample_range')}), which is not known here."
        )
    if variance is None or prediction is None or "beta_schedule" not in options:
        raise UserError(
            f"{folder}: a scheduler with beta_schedule={options.get('beta_schedule')}, "
            f"prediction_type={options.get('prediction_type')} and "
            f"variance_type={options.get('variance_type')} is not known here."
        )
    for key, known in {
        "time_embedding_type": ("positional", "learned"),
        "class_embed_type": (None,),
        "out_channels": (6 if variance == "learned_range" else 3,),
    }.items():
        if said.get(key, known[0]) not in known:
            raise UserError(
                f"{model}: a network with {key}={said[key]} and a scheduler with "
                f"variance_type={options.get('variance_type', 'fixed_small')} is not known here."
            )
    try:
        network, found = UNet2DModel.from_pretrained(
            model.parent, local_files_only=True, output_loading_info=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"the weights beside {model} cannot be read ({first_line(error)})."
        ) from error
    if wrong := [
        *found["missing_keys"],
        *found["unexpected_keys"],
        *(str(name) for name in found["mismatched_keys"]),
    ]:
        raise UserError(
            f"the weights beside {model} are not those of its network: {len(wrong)} tensors are "
            f"missing, left over or of another shape, such as {wrong[0]}."
        )
    clip = bool(
        options.get("clip_sample", options.get("_class_name", "DDPM").startswith(("DDPM", "DDIM")))
    )  # the default of these; others never clip
    schedule = same_schedule(DDPMScheduler.from_config(options).alphas_cumprod, folder)
    arguments = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in network.config.items()
        if not key.startswith("_")
    }
    for derived in ("sample_size", "in_channels", "out_channels"):
        del arguments[derived]
    denoiser = {"prediction": prediction, "variance": variance, "clip": clip, "network": arguments}
    told = {
        "clip": clip,
        "schedule": schedule.kind,
        "T": schedule.T,
        "prediction": prediction,
        "variance": variance,
    }
    return Found(
        str(folder),
        {"denoiser": denoiser, "schedule": schedule.config, "resolution": size},
        {f"network.{name}": value for name, value in network.state_dict().items()},
        "a diffusers UNet2DModel",
        {"resolution": (size, "config.json")}
        | {name: (value, "scheduler_config.json") for name, value in told.items()},
    )


def described_in(file: Path) -> dict:
    """A config as diffusers writes it."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} holds no settings, but a {type(found).__name__}.")
    return found


def inside(folder: Path, part: str, name: str) -> Path:
    """A pipeline's file, in the folder itself or in its part's."""
    for place in (folder / part / name, folder / name):
        if place.is_file():
            return place
    hint = f" Did you mean {folder / 'denoiser'}?" if header(folder / "denoiser") else ""
    raise UserError(
        f"the folder {folder} has no {name}, nor {part}/{name}: a UNet2DModel and its scheduler, "
        f"as diffusers saves them, are needed.{hint}"
    )


def same_schedule(alpha_bar: Tensor, folder: Path) -> Schedule:
    """The schedule of ours with these ᾱ."""
    for kind in ("linear", "cosine"):
        schedule = Schedule(kind, len(alpha_bar))
        if torch.allclose(
            schedule.alpha_bar(torch.arange(schedule.T)).flatten().float(),
            alpha_bar.float(),
            rtol=1e-3,
            atol=1e-6,
        ):
            return schedule
    raise UserError(
        f"{folder}: its scheduler's ᾱ are neither those of a linear schedule (β from 1e-4 to 0.02, "
        "times 1000/T) nor of a cosine one; no other is known here."
    )
