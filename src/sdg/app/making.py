"""From a config's `_target_` to an object, with one clear line where it makes none."""

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sdg.app.imported import imported
from sdg.errors import UserError, near
from sdg.similarity import RunContext, Term

__all__ = [
    "check_options",
    "class_from_target",
    "from_options",
    "instantiate_as",
    "of_kind",
    "options_of",
    "parameters",
    "section",
    "without_options",
]

OF_HYDRA = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")
PAGE = "docs/extending.md says what it takes"


def instantiate_as(config: DictConfig, key: str, kind: type):
    """The object that `config[key]` describes.

    Raises:
        UserError: it names no `_target_`, that makes something of another kind, or an option is
            none of its.
    """
    if not (isinstance(config[key], DictConfig) and "_target_" in config[key]):
        raise UserError(f"{key}: its config names no _target_, the class to make; {PAGE}.")
    check_options(config, key)
    with section(key):
        thing = instantiate(config[key])
    return of_kind(thing, f"{key}._target_={config[key]._target_}", kind)


@contextmanager
def section(key: str) -> Iterator[None]:
    """Puts the key of a section of the config before a parameter that is refused within.

    Raises:
        UserError: it is.
    """
    try:
        yield
    except Exception as error:  # `instantiate` wraps what a constructor raises
        for link in (error, error.__cause__):
            if isinstance(link, UserError) and link.parameter:
                raise UserError(f"{key}.{link}", f"{key}.{link.parameter}") from error
        raise


def check_options(config: DictConfig, key: str) -> None:
    """Refuses an option that the class of `config[key]` does not take.

    Raises:
        UserError: there is one, or no such class.
    """
    node = config[key]
    place = node._get_full_key(None)
    call = imported(f"{place}._target_", node._target_)
    taken = inherited_parameters(call)
    for name in node:
        if None in taken or name in taken or name in OF_HYDRA:
            continue
        choice = HydraConfig.get().runtime.choices.get(place)
        chosen = f"{place}={choice} ({call.__name__})" if choice else call.__name__
        options = [f"{place}.{each}" for each in node if each in taken]
        raise UserError(
            f"'{place}.{name}' is no setting of {chosen}"
            f"{near(name, taken) or '.'} "
            f"There are: {', '.join(options) or 'none'}."
        )


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
        UserError: there is none, it is of another kind, or it lacks a method.
    """
    cls = imported(f"{key}._target_", target)
    if not (isinstance(cls, type) and issubclass(cls, kind)):
        raise UserError(f"{key}._target_={target} is no {kind.__module__}.{kind.__name__}; {PAGE}.")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise UserError(f"{key}._target_={target} lacks {missing}, which it must define; {PAGE}.")
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
        UserError: an option that it does not take, or lacks one other than the weight, which is
            then 1; a parameter out of its range.
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
            if name in options or taken[name].default is not inspect.Parameter.empty:
                continue
            if name != "weight":
                raise UserError(f"{key}.{name} must be given: +{key}.{name}=…")
            options = options | {"weight": 1.0}
    with section(key):
        return cls.from_config(run, **options)


def parameters(call) -> dict[str | None, inspect.Parameter]:
    """{name: parameter} of a call; None for `**options`."""
    taken = inspect.signature(call).parameters.values()
    return {None if each.kind == each.VAR_KEYWORD else each.name: each for each in taken}


def inherited_parameters(call) -> dict[str | None, inspect.Parameter]:
    """The parameters of a call; of a class that passes `**options` on, its parents' too.

    None stands for `**options` that nobody names.
    """
    taken = parameters(call)
    for parent in inspect.getmro(call)[1:] if inspect.isclass(call) else ():
        if None not in taken:
            break
        del taken[None]
        taken = (parameters(parent) if parent is not object else {}) | taken
    return taken
