"""A denoiser's folder as diffusers writes it."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, first_line
from sdg.io.denoiser_file import DenoiserFile
from sdg.io.weights import header

__all__ = ["PREDICTIONS", "from_diffusers"]

PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}
VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
    "learned_range": "learned_range",
}


def from_diffusers(folder: Path) -> DenoiserFile:
    """A folder with a `UNet2DModel` and a scheduler's config, as diffusers writes it.

    They lie beside each other or in folders of their own.
    """
    from diffusers import DDPMScheduler

    model = part_file(folder, "unet", "config.json")
    config = json_config(model)
    options = json_config(part_file(folder, "scheduler", "scheduler_config.json"))
    size = config.get("sample_size")
    if (
        config.get("_class_name") != "UNet2DModel"
        or config.get("in_channels", 3) != 3
        or not isinstance(size, int)
    ):
        raise UserError(
            f"{model} describes a {config.get('_class_name')} for {config.get('in_channels')} "
            f"channels and the size {size}; a UNet2DModel of square RGB images is needed."
        )
    prediction, variance, clip = scheduler_settings(options, folder)
    check_network(config, variance, options, model)
    network = loaded_network(model)
    schedule = same_schedule(DDPMScheduler.from_config(options).alphas_cumprod, folder)
    arguments = {}
    for key, value in network.config.items():
        if not key.startswith("_"):
            arguments[key] = list(value) if isinstance(value, tuple) else value
    for derived in ("sample_size", "in_channels", "out_channels"):
        del arguments[derived]
    denoiser = {"prediction": prediction, "variance": variance, "clip": clip, "network": arguments}
    sources: dict[str, tuple[object, str]] = {"resolution": (size, "config.json")}
    for name, value in {
        "clip": clip,
        "schedule": schedule.kind,
        "T": schedule.T,
        "prediction": prediction,
        "variance": variance,
    }.items():
        sources[name] = (value, "scheduler_config.json")
    return DenoiserFile(
        str(folder),
        {"denoiser": denoiser, "schedule": schedule.config, "resolution": size},
        {f"network.{name}": value for name, value in network.state_dict().items()},
        "a diffusers UNet2DModel",
        sources,
    )


def scheduler_settings(options: Mapping, folder: Path) -> tuple[str, str, bool]:
    """(what the network predicts, which Σ, whether x̂_0 is clipped) of a scheduler's config.

    Raises:
        UserError: a setting of it is not known here.
    """
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
    # DDPM and DDIM clip by default; others never clip.
    clips = options.get("_class_name", "DDPM").startswith(("DDPM", "DDIM"))
    return prediction, variance, bool(options.get("clip_sample", clips))


def check_network(config: Mapping, variance: str, options: Mapping, model: Path) -> None:
    """Checks that a network's config is one of those that are rebuilt here.

    Raises:
        UserError: it has an embedding that is not known, or channels that do not suit its Σ.
    """
    for key, known in {
        "time_embedding_type": ("positional", "learned"),
        "class_embed_type": (None,),
        "out_channels": (6 if variance == "learned_range" else 3,),
    }.items():
        if config.get(key, known[0]) not in known:
            raise UserError(
                f"{model}: a network with {key}={config[key]} and a scheduler with "
                f"variance_type={options.get('variance_type', 'fixed_small')} is not known here."
            )


def loaded_network(model: Path):
    """The `UNet2DModel` whose config this is, with the weights beside it.

    Raises:
        UserError: the weights cannot be read, or are not those of the network.
    """
    from diffusers import UNet2DModel

    try:
        network, report = UNet2DModel.from_pretrained(
            model.parent, local_files_only=True, output_loading_info=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"the weights beside {model} cannot be read ({first_line(error)})."
        ) from error
    wrong = [*report["missing_keys"], *report["unexpected_keys"]]
    wrong += [str(name) for name in report["mismatched_keys"]]
    if wrong:
        raise UserError(
            f"the weights beside {model} are not those of its network: {len(wrong)} tensors are "
            f"missing, left over or of another shape, such as {wrong[0]}."
        )
    return network


def json_config(file: Path) -> dict:
    """A config as diffusers writes it."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON ({error}).") from error
    if not isinstance(config, dict):
        raise UserError(f"{file} holds no settings, but a {type(config).__name__}.")
    return config


def part_file(folder: Path, part: str, name: str) -> Path:
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
