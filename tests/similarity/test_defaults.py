"""The library's similarities and those of the commands have the same defaults."""

import inspect
from pathlib import Path

import pytest
import yaml

import sdg.similarity

CONF = Path(__file__).resolve().parents[2] / "conf" / "similarity"


@pytest.mark.parametrize("kind", sorted(file.stem for file in CONF.glob("*.yaml")))
def test_a_config_says_what_its_class_takes_by_default(kind):
    options = yaml.safe_load((CONF / f"{kind}.yaml").read_text())[kind]
    term = getattr(sdg.similarity, options.pop("_target_").removeprefix("sdg.similarity."))
    del options[term.condition_option]
    # What `from_config` does not name it hands to the constructor.
    taken = inspect.signature(term).parameters | inspect.signature(term.from_config).parameters
    assert options == {name: taken[name].default for name in options}
    assert "weight" in options
