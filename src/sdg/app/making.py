"""From a config's `_target_` to an object, with one clear line where it makes none."""

import copy
import inspect

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from sdg.errors import UserError, near
from sdg.similarity import RunContext, Term

__all__ = [
    "class_from_target",
    "from_options",
    "made",
    "of_kind",
    "options_of",
    "parameters",
    "without_options",
]

PAGE = "docs/extending.md says what it takes"


def made(config: DictConfig, key: str, kind: type):
    """The object that `config[key]` describes.

    Raises:
        UserError: it names no `_target_`, or that makes something of another kind.
    """
    if not (isinstance(config[key], DictConfig) and "_target_" in config[key]):
        raise UserError(f"{key}: its config names no _target_, the class to make; {PAGE}.")
    return of_kind(instantiate(config[key]), f"{key}._target_={config[key]._target_}", kind)


def of_kind(thing, name: str, kind: type):
    """`thing`, if it is of this kind.

    Raises:
        UserError: it is not.
    """
    if not isinstance(thing, kind):
        raise UserError(
            f"{name} makes a {type(thing).__name__}, but a {kind.__module__}.{kind.__name__} is "
            f"needed; {PAGE}."
        )
    return thing


def class_from_target(target: str, key: str, kind: type) -> type:
    """The class that a `_target_` names.

    Raises:
        UserError: there is none, or it is of another kind.
    """
    try:
        cls = get_class(target)
    except Exception as error:  # whatever the import of the user's module raises
        raise UserError(f"{key}._target_: {' '.join(str(error).split())}") from error
    if not issubclass(cls, kind):
        raise UserError(f"{key}._target_={target} is no {kind.__module__}.{kind.__name__}; {PAGE}.")
    return cls


def options_of(config: DictConfig, *without: str) -> dict:
    """Its options as plain values, with what has a `_target_` of its own made."""
    return dict(instantiate(without_options(config, "_target_", *without), _convert_="all"))


def without_options(config: DictConfig, *names: str) -> DictConfig:
    """A copy of a node, at its place in the config, without some of its options."""
    kept = copy.deepcopy(config)
    kept._set_parent(config._get_parent())
    OmegaConf.set_struct(kept, False)
    for name in names:
        kept.pop(name, None)
    return kept


def from_options(key: str, cls: type[Term], run: RunContext, options: dict) -> Term:
    """`cls.from_config(run, **options)`.

    Raises:
        UserError: an option that it does not take, or lacks one.
    """
    taken = parameters(cls.from_config)
    if None in taken:  # it passes the others on to the constructor
        taken |= parameters(cls)
    names = [name for name in taken if name not in ("run", None)]
    for name in options:
        if name not in names:
            raise UserError(
                f"{key}.{name}: {cls.__name__} has no such option{near(name, names) or '.'} "
                f"There are: {', '.join(names) or 'none'}."
            )
    own = getattr(cls.from_config, "__func__", None)
    if own is getattr(Term.from_config, "__func__", None):  # it takes the constructor's options
        for name in names:
            if name not in options and taken[name].default is inspect.Parameter.empty:
                raise UserError(f"{key}.{name} must be given: {key}.{name}=…")
    return cls.from_config(run, **options)


def parameters(call) -> dict[str | None, inspect.Parameter]:
    """{name: parameter} of a call; None for `**options`."""
    taken = inspect.signature(call).parameters.values()
    return {None if each.kind == each.VAR_KEYWORD else each.name: each for each in taken}
