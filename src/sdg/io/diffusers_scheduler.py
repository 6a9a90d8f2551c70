"""What a scheduler's config of diffusers says of the process and of the network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, first_line

__all__ = ["PREDICTIONS", "Process", "process_of"]

PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}
VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
    "learned_range": "learned_range",
}
# What `sdg.diffusion` fixes of Karras et al. 2022, which EDMEulerScheduler leaves open.
EDM = {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "prediction_type": "epsilon"}


class Process(NamedTuple):
    """A forward process, and what `Denoiser` takes for a network of it.

    Arguments:
        schedule: the process.
        options: `prediction`, `variance`, `clip`, and what the network is told of the noise.
    """

    schedule: Schedule
    options: dict[str, Any]


def process_of(options: Mapping, folder: Path) -> Process:
    """The process of a scheduler's config.

    Of discrete diffusion, of `EDMEulerScheduler` (Karras et al. 2022, arXiv 2206.00364) and of
    `FlowMatchEulerDiscreteScheduler` (rectified flow). A grid of σ, or a shift of it, is the
    sampler's and not the process's.

    Arguments:
        folder: of the scheduler, for messages.

    Raises:
        UserError: a setting of it is not known here, or is none.
    """
    try:
        return known_process(options, folder)
    except UserError:
        raise
    except (AttributeError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}: its scheduler's config is damaged, or not known here: {first_line(error)}"
        ) from error


def known_process(options: Mapping, folder: Path) -> Process:
    """`process_of`, for a config of the kinds of values that diffusers writes."""
    kind = options.get("_class_name")
    if kind == "EDMEulerScheduler":
        return edm(options, folder)
    if kind == "FlowMatchEulerDiscreteScheduler":
        network = {"time": "tau", "time_scale": float(options.get("num_train_timesteps", 1000))}
        told = {"prediction": "velocity", "variance": "fixed_small", "clip": False}
        return Process(Schedule("flow"), told | network)
    prediction, variance, clip = scheduler_settings(options, folder)
    told = {"prediction": prediction, "variance": variance, "clip": clip}
    return Process(same_schedule(options, folder), told)


def edm(options: Mapping, folder: Path) -> Process:
    """The process of an `EDMEulerScheduler`, whose network is told ¼ log σ."""
    for name, known in EDM.items():
        if options.get(name, known) != known:
            raise UserError(
                f"{folder}: an EDMEulerScheduler with {name}={options[name]} is not known here, "
                f"only {name}={known}."
            )
    told = {"prediction": "edm", "variance": "fixed_small", "clip": False}
    return Process(Schedule("edm"), told | {"time": "log_sigma", "time_scale": 0.25})


def scheduler_settings(options: Mapping, folder: Path) -> tuple[str, str, bool]:
    """(what the network predicts, which Σ, whether x̂_0 is clipped) of discrete diffusion.

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
            f"{folder}: a {options.get('_class_name', 'scheduler')} with "
            f"beta_schedule={options.get('beta_schedule')}, "
            f"prediction_type={options.get('prediction_type')} and "
            f"variance_type={options.get('variance_type')} is not known here."
        )
    # DDPM and DDIM clip by default; others never clip.
    clips = options.get("_class_name", "DDPM").startswith(("DDPM", "DDIM"))
    return prediction, variance, bool(options.get("clip_sample", clips))


def same_schedule(options: Mapping, folder: Path) -> Schedule:
    """The schedule of ours with the ᾱ of a scheduler of discrete diffusion.

    Raises:
        UserError: there is none.
    """
    from diffusers import DDPMScheduler

    alpha_bar = DDPMScheduler.from_config(options).alphas_cumprod
    schedules = [Schedule(kind, len(alpha_bar)) for kind in ("linear", "cosine")]
    betas = options.get("beta_start", 1e-4), options.get("beta_end", 0.02)
    for kind in ("scaled_linear", "linear"):
        schedules.append(Schedule(kind, len(alpha_bar), betas))
    for schedule in schedules:
        ours = schedule.alpha_bar(torch.arange(schedule.T)).flatten()
        if torch.allclose(ours.float(), alpha_bar.float(), rtol=1e-3, atol=1e-6):
            return schedule
    raise UserError(
        f"{folder}: its scheduler's ᾱ are neither those of a linear schedule of β, nor of a "
        "scaled_linear one (of √β), nor of a cosine one; no other is known here."
    )
