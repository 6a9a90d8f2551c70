"""Names of sampling runs, from what they draw.

The same command finds the folder of its own unfinished run, whatever the clock says.
"""

import copy
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sdg.app.caches import cache_name, register_caches
from sdg.app.plain import plain

__all__ = [
    "NOT_DRAWN_WITH",
    "chosen_similarities",
    "name_of",
    "sample_settings",
    "register",
    "run_name",
    "sweep_name",
    "unguided_config",
]

NOT_DRAWN_WITH = (
    "cache",
    "callbacks",
    "eval",
    "hydra",
    "logger",
    "rerun",
    "trainer",
    "trajectory",
    "unguided",
)  # what changes no sample
# In a word of a command line.
NUMBER = re.compile(
    r"""
    '[^']*' | "[^"]*"  # quoted text: a number in it is none
    | (?<= [=,(\[:] ) (?P<space> \s* )  # where a value begins, or an entry of one
      (?P<number> [+-]? (?: \d[\d_]* \.? [\d_]* | \.\d[\d_]* ) (?: [eE] [+-]? \d[\d_]* )? )
      (?= \s* (?: [,)\]}] | $ ) )  # and where it ends
    """,
    re.VERBOSE,
)
TRAINER = ("accelerator", "devices", "num_nodes", "precision")  # but for these of a trainer's


def chosen_similarities(config: DictConfig) -> list[str]:
    """The similarities of a run.

    An experiment may set options of others too, for the runs that have those; they bring no
    `_target_`.
    """
    return [
        str(kind)
        for kind, options in config.similarity.items()
        if isinstance(options, DictConfig) and "_target_" in options
    ]


def sample_settings(config: DictConfig) -> dict[str, Any]:
    """The settings that samples follow from, resolved; equal values are written alike."""
    keys = [str(key) for key in config if key not in NOT_DRAWN_WITH]
    kept = OmegaConf.masked_copy(config, keys)
    settings = with_whole_numbers(plain(kept))
    if settings["deterministic"]:
        settings["batch_size"] = 1
    # A denoiser of images has none, as before there was such a setting.
    if "weights" in settings["denoiser"] and settings["denoiser"].get("autoencoder") is None:
        settings["denoiser"].pop("autoencoder", None)
    if name := cache_name(config):
        settings["data"]["cache"] = name
    return settings | {"trainer": {key: str(config.trainer[key]) for key in TRAINER}}


def with_whole_numbers(value: Any) -> Any:
    """A plain value whose whole floats are integers: 10.0 and 10 are one setting."""
    if isinstance(value, dict):
        return {key: with_whole_numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [with_whole_numbers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def run_name(config: DictConfig) -> str:
    """The name of a run, such as `text_sdg_1f0c2b9a7d`.

    It holds the similarities, the guidance, and a digest of all settings that samples follow from.

    Arguments:
        config: of the job, with Hydra's own part.
    """
    return name_of(config, config.hydra.runtime.choices.guidance)


def unguided_config(config: DictConfig) -> DictConfig:
    """The config of the same run with γ = 0."""
    unguided = copy.deepcopy(config)
    unguided.merge_with({"guidance": {"gamma": 0}})
    return unguided


def name_of(config: DictConfig, guidance: str) -> str:
    """The name of a run with this choice of `guidance`."""
    similarities = "+".join(chosen_similarities(config)) or "unguided"
    return f"{similarities}_{guidance}_{digest(sample_settings(config))}"


def sweep_name(words: Sequence[str]) -> str:
    """The name of the sweep that a command line starts, whatever the order of its words.

    Equal numbers give one name: `guidance.gamma=5,10` and `guidance.gamma=5.0,1e1`.
    """
    return f"sweep_{digest(sorted(with_equal_numbers(word) for word in words))}"


def with_equal_numbers(word: str) -> str:
    """A word of a command line with every number written in one way: 10.0 and 1e1 as 10."""
    return NUMBER.sub(written_one_way, word)


def written_one_way(match: re.Match[str]) -> str:
    """The number of a match of `NUMBER`, without a fraction where that is zero."""
    if match["number"] is None:
        return match[0]
    text = match["number"].replace("_", "")  # 1_000 is 1000
    # A large integer is no float.
    number = int(text) if text.lstrip("+-").isdigit() else with_whole_numbers(float(text))
    return f"{match['space']}{number}"


def digest(value: Any) -> str:
    """Ten letters that stand for a plain value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def register() -> None:
    """Makes `${run_name:}` and `${cache:NAME}` known to configs."""
    register_caches()
    OmegaConf.register_new_resolver("run_name", lambda *, _root_: run_name(_root_), replace=True)
