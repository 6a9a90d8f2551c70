"""Schedulers' configs that cannot be read are refused in a sentence."""

from pathlib import Path

import pytest

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


def test_a_config_as_diffusers_writes_it_is_read():
    assert process_of(DDPM, Path("FOLDER")).schedule.T == 1000
