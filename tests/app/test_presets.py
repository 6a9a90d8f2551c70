"""The commands and the library take the same settings for the shipped weights."""

import pytest
from hydra import compose, initialize_config_dir

from sdg import Pipeline
from sdg.io.shipped import CONF, shipped_names

KEYS = ("gamma", "steps", "spacing", "interval")


@pytest.fixture(scope="module")
def presets():
    """{shipped weights: (what conf/recipe/sample sets, what their pipeline.json sets)}."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return {name: (of_command(name), of_library(name)) for name in shipped_names()}


def of_command(name):
    return dict(compose("sample", [f"data={name}"]).preset)


def of_library(name):
    pipe = Pipeline.from_pretrained(name)
    sampler = pipe.sampler
    return {
        "gamma": pipe.gamma,
        "steps": sampler.steps,
        "spacing": sampler.spacing,
        "interval": list(pipe.interval),
    }


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", shipped_names())
def test_a_preset_is_the_same_for_commands_and_the_library(presets, name, key):
    command, library = presets[name]
    assert command[key] == library[key], (
        f"preset.{key} in conf/recipe/sample/{name}.yaml is not {key} in "
        f"weights/{name}/pipeline.json"
    )


def test_every_key_of_a_preset_is_compared(presets):
    assert all(set(command) == set(KEYS) for command, _ in presets.values())
