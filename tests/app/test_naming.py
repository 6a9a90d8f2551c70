"""Names of sampling runs."""

import pytest
from hydra import compose, initialize_config_dir

from sdg.app.naming import name_of, register
from sdg.app.options import register_options
from sdg.io.shipped import CONF


def name(*overrides):
    register()
    register_options()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return name_of(compose("sample", list(overrides)), "sdg")


@pytest.mark.parametrize(
    "one, other",
    [
        ("guidance.gamma=10", "guidance.gamma=10.0"),
        ("guidance.gamma=10", "guidance.gamma=1e1"),
        ("similarity.text.weight=2", "similarity.text.weight=2.0"),
    ],
)
def test_equal_values_give_one_name(one, other):
    assert name(one) == name(other)


@pytest.mark.parametrize("other", ["guidance.gamma=10.5", "guidance.gamma=11", "seed=1"])
def test_other_values_give_another_name(other):
    assert name("guidance.gamma=10") != name("guidance.gamma=10", other)
