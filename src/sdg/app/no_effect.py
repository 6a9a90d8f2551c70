"""Settings of the command line that nothing would read are refused."""

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sdg.app.choices import loader
from sdg.app.schema import OPEN
from sdg.errors import UserError

__all__ = ["UnknownKey", "check_effect"]

PARTS = ("denoiser", "encoder", "schedule")  # of which a training reads what its `reads` names


class UnknownKey(Exception):
    """A key that no part of a config has.

    Arguments:
        key: dotted.
    """

    def __init__(self, key: str):
        super().__init__(key)
        self.key = key


def check_effect(program: str, config: DictConfig) -> None:
    """Refuses a setting of the command line that nothing would read.

    Raises:
        UserError: a training does not read it, or a list names it twice.
        UnknownKey: it was added with +, and nothing has such a setting.
    """
    job = HydraConfig.get()
    if not GlobalHydra.instance().is_initialized():  # as in some launchers' processes
        return
    overrides = OverridesParser.create().parse_overrides(list(job.overrides.task))
    for each in overrides:
        check_twice(each)
    added = [each for each in overrides if is_added(each)]
    for each in overrides:
        # What is no list of texts is refused later, with the other settings of a wrong kind.
        reads = config.get("reads")
        named = OmegaConf.is_list(reads) and all(isinstance(name, str) for name in reads)
        if named and each not in added:
            check_read(config, each.key_or_group)
    if not added:
        return
    kept = [each.input_line or "" for each in overrides if each not in added]
    base = loader().load_configuration(program, [*job.overrides.hydra, *kept], RunMode.RUN)
    for each in added:
        if not is_known(program, base, each.key_or_group):
            raise UnknownKey(each.key_or_group)


def check_twice(override: Override) -> None:
    """Refuses a list that chooses one file of a config group twice, such as similarity=[text,text].

    Raises:
        UserError: it does.
    """
    if override.is_sweep_override():
        return
    chosen = override.value()
    names = [str(name) for name in chosen] if isinstance(chosen, list) else []
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None and loader().get_group_options(override.key_or_group):
        raise UserError(
            f"{override.key_or_group}=[{','.join(names)}] names {twice} twice, and the second "
            "time has no effect; leave it out."
        )


def check_read(config: DictConfig, key: str) -> None:
    """Refuses a setting that a training does not read.

    Raises:
        UserError: it does not.
    """
    part = key.partition(".")[0]
    if part not in PARTS or key == "encoder":  # which chooses the training
        return
    if any(f"{key}.".startswith(f"{name}.") for name in config.reads):
        return
    read = [name for name in config.reads if name.partition(".")[0] == part]
    takes = f"it reads {', '.join(read)}" if read else f"it reads no {part}"
    start = " init=PATH starts from weights." if key.endswith((".weights", ".clip")) else ""
    raise UserError(
        f"{key} has no effect on training kind={config.kind}: {takes}. Leave it out.{start}"
    )


def is_added(override: Override) -> bool:
    """Whether it adds a key with +, and no file of a config group."""
    if not (override.is_add() or override.is_force_add()):
        return False
    return not loader().get_group_options(override.key_or_group)


def is_known(program: str, base: DictConfig, key: str) -> bool:
    """Whether a config has this key, or a place where any key may be added.

    What a `_target_` makes knows its own options.

    Arguments:
        base: the config without what was added.
    """
    if any(key.startswith(f"{place}.") for place in OPEN):
        return True
    section, _, option = key.rpartition(".")
    node = OmegaConf.select(base, section) if section else base
    if option in (node or ()):
        return True
    # A training makes nothing of the encoder's `_target_`.
    made = isinstance(node, DictConfig) and bool(section) and "_target_" in node
    return made and not (program == "train" and section == "encoder")
