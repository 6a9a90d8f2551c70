"""Names of sampling runs, and of sweeps."""

import hashlib
import json

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from sdg.app.naming import name_of, register, sweep_name
from sdg.io.shipped import CONF


@pytest.fixture
def name():
    """The name of the run that some overrides ask for."""
    register()
    GlobalHydra.instance().clear()

    def composed(*overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            folder = "hydra.runtime.output_dir=/run"
            config = compose("sample", [*overrides, folder], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        return name_of(config, "sdg")

    yield composed
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize(
    "one, other",
    [
        ("guidance.gamma=10", "guidance.gamma=10.0"),
        ("guidance.gamma=10", "guidance.gamma=1e1"),
        ("similarity.text.weight=2", "similarity.text.weight=2.0"),
    ],
)
def test_equal_values_give_one_name(name, one, other):
    assert name(one) == name(other)


@pytest.mark.parametrize("other", ["guidance.gamma=10.5", "guidance.gamma=11", "seed=1"])
def test_other_values_give_another_name(name, other):
    assert name("guidance.gamma=10") != name("guidance.gamma=10", other)


@pytest.mark.parametrize(
    "one, other",
    [
        ("guidance.gamma=10", "guidance.gamma=10.0"),
        ("guidance.gamma=5,10", "guidance.gamma=5.0,1e1"),
        ("guidance.gamma=5,1000", "guidance.gamma=5,1_000.0"),
        ("sampler.steps=1000,500", "sampler.steps=1_000,500"),
        ("guidance.gamma=0.001,1", "guidance.gamma=1e-3,1."),
        ("guidance.interval=[0,0.5],[0,1]", "guidance.interval=[0.0,0.50],[0,1.0]"),
        ("+own={a: 1, b: .5}", "+own={a: 1.0, b: 5e-1}"),
        ("guidance.gamma=range(1,4)", "guidance.gamma=range(1.0,4.0)"),
    ],
)
def test_equal_numbers_give_a_sweep_one_name(one, other):
    assert sweep_name(["seed=1", one]) == sweep_name([other, "seed=1"])


@pytest.mark.parametrize(
    "one, other",
    [
        ("guidance.gamma=10", "guidance.gamma=1.0"),
        ("guidance.gamma=5,10", "guidance.gamma=5.1"),
        ("guidance.gamma=1,2.5", "guidance.gamma=1,2"),
        ("seed=9007199254740993", "seed=9007199254740992"),
        ("prompt='a 1.0','b'", "prompt='a 1','b'"),
        ("prompt='1.0'", "prompt='1'"),
        ("data.root=v/1.0/x", "data.root=v/1/x"),
        ("data.root=v1.0", "data.root=v1"),
    ],
)
def test_other_words_give_a_sweep_another_name(one, other):
    assert sweep_name([one]) != sweep_name([other])


def test_the_words_of_a_sweep_keep_its_name():
    words = ["guidance.gamma=0,2.5,10", "prompt='a red heart','a ring'", "similarity=[text,style]"]
    expected = hashlib.sha256(json.dumps(sorted(words)).encode()).hexdigest()[:10]
    assert sweep_name(words) == f"sweep_{expected}"
