"""Names of sampling runs."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from sdg.app.naming import name_of, register
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
