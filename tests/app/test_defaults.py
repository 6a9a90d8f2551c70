"""The options of conf/ and of the classes that they name are the same, with the same defaults."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sdg.app.imported import imported
from sdg.app.making import inherited_parameters, parameters

CONF = Path(__file__).resolve().parents[2] / "conf"
FILES = sorted(
    file for group in ("guidance", "sampler", "similarity") for file in (CONF / group).glob("*")
)


def options_of(file: Path) -> tuple[type, dict]:
    """The class that a file names, and the options that it gives it, but for conditions."""
    preset = {"preset": OmegaConf.load(CONF / "sample.yaml").preset, "prompt": None}
    node = OmegaConf.merge(preset, OmegaConf.load(file))
    if file.parent.name == "similarity":
        node = node[file.stem]
    options = OmegaConf.to_container(node, resolve=True)
    cls = imported("_target_", options.pop("_target_"))
    for name in ("defaults", "preset", "prompt", getattr(cls, "condition_option", None)):
        options.pop(name, None)
    return cls, options


def defaults_of(cls: type, by_config: bool) -> dict:
    """{argument: its default}, lists for tuples, as yaml has them."""
    taken = inherited_parameters(cls)
    if by_config:  # of a similarity, whose `from_config` may take what its constructor does not
        own = parameters(cls.from_config)
        taken = (taken if None in own else {}) | own
    defaults = {name: each.default for name, each in taken.items() if name not in ("run", None)}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_file_of_conf_has_the_options_and_defaults_of_its_class(file):
    cls, options = options_of(file)
    assert defaults_of(cls, file.parent.name == "similarity") == options
