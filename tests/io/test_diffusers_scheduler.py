"""Schedulers' configs that cannot be read are refused in a sentence."""

import inspect
from pathlib import Path

import diffusers
import pytest
import torch

from sdg import DDIM, Denoiser
from sdg.diffusion.sampling import sample
from sdg.errors import UserError
from sdg.io.diffusers_scheduler import process_of

DDPM = {"_class_name": "DDPMScheduler", "beta_schedule": "linear", "num_train_timesteps": 1000}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}


@pytest.mark.parametrize(
    "options",
    [
        DDPM | {"beta_schedule": "exponential"},
        DDPM | {"_class_name": None},
        DDPM | {"num_train_timesteps": "x"},
        DDPM | {"num_train_timesteps": -1},
        DDPM | {"beta_start": [1]},
        DDPM | {"prediction_type": ["v"]},
        FLOW | {"num_train_timesteps": None},
    ],
)
def test_a_config_that_cannot_be_read_is_named_with_its_folder(options):
    with pytest.raises(UserError, match="^FOLDER: "):
        process_of(options, Path("FOLDER"))


EDM = {"_class_name": "EDMEulerScheduler"}
EULER = DDPM | {"_class_name": "EulerDiscreteScheduler"}


@pytest.mark.parametrize(
    "options, says",
    [
        (FLOW | {"invert_sigmas": True}, "with invert_sigmas=True is not known here, only"),
        (EDM | {"prediction_type": "v_prediction"}, "with prediction_type=v_prediction"),
        (EDM | {"sigma_data": 0.0}, "its scheduler's sigma_data must be"),
        (EULER | {"timestep_type": "continuous"}, "with timestep_type=continuous"),
        (EULER | {"rescale_betas_zero_snr": True}, "its scheduler's ᾱ are neither"),
        (DDPM | {"_class_name": "CogVideoXDDIMScheduler"}, "with snr_shift_scale=3.0"),
        (DDPM | {"_class_name": "LCMScheduler"}, "with timestep_scaling=10.0 is not known here."),
        (DDPM | {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, "flow_sigmas"),
        (DDPM | {"_class_name": "UNet2DModel"}, "class UNet2DModel is not known"),
        (DDPM | {"_class_name": "MyScheduler"}, "class MyScheduler is not known"),
    ],
)
def test_what_would_change_the_process_is_refused_in_one_line(options, says):
    with pytest.raises(UserError, match="^FOLDER: ") as caught:
        process_of(options, Path("FOLDER"))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def schedulers():
    """Every class of diffusers that can be made without an argument."""
    for name in dir(diffusers):
        cls = getattr(diffusers, name) if name.endswith("Scheduler") else None
        if not (isinstance(cls, type) and issubclass(cls, diffusers.SchedulerMixin)):
            continue
        taken = list(inspect.signature(cls).parameters.values())
        if all(each.default is not inspect.Parameter.empty for each in taken):
            yield cls


READ = {
    *("DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler"),
    *("DEISMultistepScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"),
    *("EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler", "PNDMScheduler"),
    *("LMSDiscreteScheduler", "UniPCMultistepScheduler"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cls", schedulers(), ids=lambda cls: cls.__name__)
def test_each_scheduler_of_diffusers_is_read_as_it_is_or_refused(cls):
    """Read are its own ᾱ and its own clipping; the rest is refused in one line."""
    own = cls()
    try:
        process = process_of(dict(own.config) | {"_class_name": cls.__name__}, Path("FOLDER"))
    except UserError as error:
        assert str(error).startswith("FOLDER: ") and "\n" not in str(error)
        assert cls.__name__ not in READ
        return
    assert process.options["clip"] == bool(own.config.get("clip_sample"))
    if hasattr(own, "alphas_cumprod"):
        ours = process.schedule.alpha_bar(torch.arange(1000)).flatten()
        assert (ours - own.alphas_cumprod.double()).abs().max() < 1e-4
    else:
        assert process.schedule.kind == {"EDMEulerScheduler": "edm"}.get(cls.__name__, "flow")


def test_what_another_class_has_left_in_a_config_counts_for_nothing():
    options = dict(diffusers.DPMSolverMultistepScheduler.from_config(DDPM).config)
    named = options | {"_class_name": "DPMSolverMultistepScheduler", "clip_sample": True}
    assert process_of(named, Path("FOLDER")).options["clip"] is False
    assert process_of(DDPM, Path("FOLDER")).options["clip"] is True


def test_a_grid_of_the_sampler_changes_no_process():
    for more in ({"shift": 3.0}, {"use_dynamic_shifting": True}, {"use_karras_sigmas": True}):
        process = process_of(FLOW | more, Path("FOLDER"))
        assert process.schedule.config == {"kind": "flow", "T": 1000}
        assert process.options == process_of(FLOW, Path("FOLDER")).options


def test_a_config_as_diffusers_writes_it_is_read():
    assert process_of(DDPM, Path("FOLDER")).schedule.T == 1000


def test_any_sigma_data_of_edm_is_read_and_samples_are_diffusers_own():
    scheduler = diffusers.EDMEulerScheduler(sigma_data=1.25)
    schedule, options = process_of(
        dict(scheduler.config) | {"_class_name": "EDMEulerScheduler"}, Path("FOLDER")
    )
    assert options["sigma_data"] == 1.25

    class Network(torch.nn.Module):
        def forward(self, x, t):
            return torch.sin(2 * x.double() + t.reshape(-1, 1, 1, 1))

    noise = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scheduler.set_timesteps(10)
    x = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, t)
        x = scheduler.step(Network()(seen, t), t, x).prev_sample
    last = []
    sample(
        *(Denoiser(Network(), schedule, **options), DDIM(10, "karras"), lambda stream=0: noise),
        on_step=lambda done, step: last.append(step.x),
    )
    assert (last[-1] - x).abs().max() < 1e-5 * x.abs().max()
