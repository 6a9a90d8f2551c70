"""The options of conf/ and of the classes that they name are the same, with the same defaults."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sdg.app.imported import imported
from sdg.app.making import inherited_parameters, parameters
from sdg.app.setting_checks import setting_kind
from sdg.errors import UserError

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


VALUES = (
    *(-1, -0.5, 0, 0.5, 1, 1.5, 2, 10**9, float("nan"), float("inf"), "many", "", None, True),
    *([], [0.5], [0.2, 0.8], [0.5, 0.5], [0.8, 0.2], [0, 2], [-1, 1], ["a", "b"]),
)
BESIDE = {"candidates": 2, "stages": ["layer1"]}  # without which another option has no effect


def ranges() -> list[tuple[Path, str]]:
    """(file, option) of every option that a constructor takes as it is."""
    of_constructors = [file for file in FILES if file.stem not in ("text", "class", "content")]
    return [(file, name) for file in of_constructors for name in options_of(file)[1]]


@pytest.mark.parametrize(
    "file, name", ranges(), ids=lambda each: each.stem if isinstance(each, Path) else each
)
def test_the_schema_and_the_constructor_take_the_same_values(file, name):
    cls, _ = options_of(file)
    group = file.parent.name
    place = f"similarity.{file.stem}" if group == "similarity" else group
    kind = setting_kind("sample", f"{place}.{name}", f"{cls.__module__}.{cls.__qualname__}")
    # Without stages `from_config` chooses some, and the constructor does not.
    values = [value for value in VALUES if name != "stages" or value is not None]
    by_schema = [value for value in values if kind.takes(value)]
    assert by_schema == [value for value in values if constructed(cls, name, value)]


def constructed(cls: type, name: str, value) -> bool:
    """Whether a constructor takes the value; it refuses it as it ought to, or the test fails."""
    taken = inherited_parameters(cls)
    beside = {key: each for key, each in BESIDE.items() if key in taken}
    try:
        cls(**beside | {name: value})
    except UserError:
        return False
    return True
