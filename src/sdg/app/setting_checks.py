"""The whole config of a command against the schema, before anything heavy is imported."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from sdg.app.absent import where_to_find
from sdg.app.choices import check_similarities
from sdg.app.cost import check_cost, cost_note
from sdg.app.finished import has_own_code
from sdg.app.inputs import check_encoder_name, check_inputs, check_root, check_training_inputs
from sdg.app.kinds import Kind, as_command_line_value
from sdg.app.plain import plain
from sdg.app.rules import check_rules
from sdg.app.schema import BY_CLASS, NAMED, PROGRAMS, SETTINGS
from sdg.errors import UserError, near
from sdg.io.hub import Absent
from sdg.io.shipped import CONF

__all__ = ["check_settings", "check_sweep", "check_value", "notes", "setting_kind"]

OURS = ("sdg.", "pytorch_lightning.", "torch.optim.")  # whose options the schema knows
MISSING = "???"
FAR = 100  # times what suits the weights


def check_settings(program: str, config: DictConfig) -> None:
    """Refuses a value that is not what the schema says, and values that do not go together.

    A class of the user's own knows its options itself.

    Raises:
        UserError: there is one.
    """
    values = plain(config)
    check_section(program, values)
    check_given(program, values)
    check_rules(program, values, HydraConfig.get().overrides.task)
    check_root(values["data"])
    guided = program == "train" or config.guidance.get("gamma") != 0
    if guided and not has_own_code(config):  # which may bring models of its own
        check_encoder_name(values["encoder"])
    try:
        if program == "train":
            check_training_inputs(values)
        elif config.eval.get("measures") != "encoder":
            check_similarities(config)
            check_cost(config)
            check_inputs(values)
    except Absent as error:
        raise where_to_find(error) from error


def check_sweep(program: str, words: Sequence[str]) -> None:
    """Refuses a value of a sweep that is not what the schema says, before the first job begins.

    What the values do together is checked when a job begins.

    Arguments:
        words: the settings of the command line.

    Raises:
        UserError: there is one.
    """
    parser = OverridesParser.create()
    try:
        overrides = parser.parse_overrides(list(words))
    except HydraException:  # which Hydra raises again, and `explain` explains
        return
    for override in overrides:
        key = override.key_or_group
        kind = None if (CONF / key).is_dir() else setting_kind(program, key)
        if kind is None or not override.is_choice_sweep():
            continue
        for text in override.sweep_string_iterator():
            value = parser.parse_override(f"{key}={text}").value()
            if not (isinstance(value, str) and "${" in value):
                check_value(key, kind, value)


def check_section(program: str, section: Mapping[str, Any], above: str = "") -> None:
    """Checks all that is in a section, unless its class is the user's own."""
    target = section.get("_target_", OURS[0])
    if not isinstance(target, str) or not target:
        raise UserError(
            f"{above}_target_ must be the dotted name of a class, "
            f"not {as_command_line_value(target)!r}."
        )
    ours = target.startswith(OURS)
    for name, value in section.items():
        kind = setting_kind(program, f"{above}{name}", target)
        if ours and kind is not None:
            check_value(f"{above}{name}", kind, value)
        if isinstance(value, Mapping):
            check_section(program, value, f"{above}{name}.")


def check_given(program: str, section: Mapping[str, Any], above: str = "") -> None:
    """Refuses a section in which a setting must be given and was not.

    Raises:
        UserError: it was not.
    """
    target = section.get("_target_", OURS[0])
    for name, value in section.items():
        kind = setting_kind(program, f"{above}{name}", target)
        if value == MISSING and kind is not None and target.startswith(OURS):
            raise UserError(f"{above}{name} must be given: {above}{name}=…, {kind.words}.")
        if isinstance(value, Mapping):
            check_given(program, value, f"{above}{name}.")


def setting_kind(program: str, key: str, target: str = "") -> Kind | None:
    """What a setting may be; None where the schema does not know it.

    Arguments:
        key: dotted.
        target: the class whose option it is.
    """
    section, _, option = key.rpartition(".")
    if section in NAMED:
        return NAMED[section]
    return BY_CLASS.get(target, {}).get(option) or PROGRAMS[program].get(key) or SETTINGS.get(key)


def check_value(key: str, kind: Kind, value: Any) -> None:
    """Refuses a plain value that is not of a kind.

    Raises:
        UserError: it is not.
    """
    if value == MISSING or kind.takes(value):  # `check_given` is asked about those last
        return
    hint = near(value, kind.options) if isinstance(value, str) else ""
    if isinstance(value, (int, float)) and kind.takes(as_command_line_value(value)):
        hint = f"; quote such a text twice, {key}=\"'{as_command_line_value(value)}'\""
    given = repr(value) if isinstance(value, str) else as_command_line_value(value)
    raise UserError(f"{key} must be {kind.words}, not {given}{hint or '.'}")


def notes(config: DictConfig) -> list[str]:
    """What is allowed and seldom meant, a line each."""
    gamma = config.guidance.get("gamma")
    cost = cost_note(config)
    if isinstance(gamma, bool) or not isinstance(gamma, (int, float)):
        return cost
    if gamma < 0:
        return [
            *cost,
            f"note: guidance.gamma={gamma:g} is negative, so it steers away from what is named.",
        ]
    usual = config.preset.gamma
    if gamma > FAR * usual:
        return [
            *cost,
            f"note: guidance.gamma={gamma:g} is far beyond {usual:g}, which suits these weights; "
            "such samples are seldom images.",
        ]
    return cost
