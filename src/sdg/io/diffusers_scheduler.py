"""What a scheduler's config of diffusers says of the process and of the network."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sdg.diffusion.parametrisation import SIGMA_DATA
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, first_line, number

__all__ = ["PREDICTIONS", "Process", "process_of"]

PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}
VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
    "learned_range": "learned_range",
}
# Settings of some classes that change ᾱ, or what the network is told or gives, and their values of
# a plain process: of CogVideoX, of Stable Video Diffusion, of flows, of consistency models.
PLAIN = {
    "snr_shift_scale": 1.0,
    "timestep_type": "discrete",
    "use_flow_sigmas": False,
    "timestep_scaling": None,
}
# What `sdg.diffusion` fixes of Karras et al. 2022, which EDMEulerScheduler leaves open.
EDM = {"sigma_min": 0.002, "sigma_max": 80.0, "prediction_type": "epsilon"}


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
    `FlowMatchEulerDiscreteScheduler` (rectified flow). A grid of σ or a shift of it, such as
    `use_karras_sigmas`, `shift` and `use_dynamic_shifting`, and the order of a solver are the
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
    kind = str(options.get("_class_name"))
    settings = class_settings(options, kind, folder)
    if kind == "EDMEulerScheduler":
        return edm(settings, folder)
    if kind == "FlowMatchEulerDiscreteScheduler":
        return flow(settings, folder)
    prediction, variance, clip = scheduler_settings(settings | {"_class_name": kind}, folder)
    network = {"prediction": prediction, "variance": variance, "clip": clip}
    return Process(same_schedule(settings, folder), network)


def class_settings(options: Mapping, kind: str, folder: Path) -> dict[str, Any]:
    """What a scheduler of this class goes by: its own arguments, and their defaults.

    A config that was made from that of another class keeps what only that one reads.

    Raises:
        UserError: diffusers has no such scheduler.
    """
    import diffusers

    cls = getattr(diffusers, kind, None) if kind.endswith("Scheduler") else None
    if not (isinstance(cls, type) and issubclass(cls, diffusers.SchedulerMixin)):
        raise UserError(f"{folder}: a scheduler of the class {kind} is not known here.")
    arguments = inspect.signature(cls.__init__).parameters.values()
    return {
        each.name: options.get(each.name, each.default)
        for each in arguments
        if each.default is not inspect.Parameter.empty
    }


def edm(options: Mapping, folder: Path) -> Process:
    """The process of an `EDMEulerScheduler`, whose network is told ¼ log σ."""
    refuse_others(EDM, options, "an EDMEulerScheduler", folder)
    network = {"prediction": "edm", "variance": "fixed_small", "clip": False}
    network |= {"time": "log_sigma", "time_scale": 0.25}
    try:
        sigma_data = number("sigma_data", options["sigma_data"], 1e-3)
    except UserError as error:
        raise UserError(f"{folder}: its scheduler's {error}") from error
    if sigma_data != SIGMA_DATA:
        network["sigma_data"] = sigma_data
    return Process(Schedule("edm"), network)


def flow(options: Mapping, folder: Path) -> Process:
    """The process of a `FlowMatchEulerDiscreteScheduler`, whose network is told T τ.

    With `invert_sigmas` its velocity would point to the image, and its time would run to it.
    """
    known = {"invert_sigmas": False}
    refuse_others(known, options, "a FlowMatchEulerDiscreteScheduler", folder)
    network = {"prediction": "velocity", "variance": "fixed_small", "clip": False}
    time = {"time": "tau", "time_scale": float(options["num_train_timesteps"])}
    return Process(Schedule("flow"), network | time)


def refuse_others(known: Mapping, options: Mapping, scheduler: str, folder: Path) -> None:
    """Refuses other values of some settings than those that are known.

    Arguments:
        scheduler: what the message calls it.

    Raises:
        UserError: there is one.
    """
    for name, value in known.items():
        if options.get(name, value) != value:
            only = f", only {name}={value}" if value is not None else ""
            raise UserError(
                f"{folder}: {scheduler} with {name}={options[name]} is not known here{only}."
            )


def scheduler_settings(options: Mapping, folder: Path) -> tuple[str, str, bool]:
    """(what the network predicts, which Σ, whether x̂_0 is clipped) of discrete diffusion.

    Raises:
        UserError: a setting of it is not known here.
    """
    refuse_others(PLAIN, options, "a scheduler", folder)
    variance = VARIANCES.get(options.get("variance_type") or "fixed_small")
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
    # Schedulers that have no such setting never clip.
    return prediction, variance, bool(options.get("clip_sample"))


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
