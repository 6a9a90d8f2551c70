"""Imports without what nobody asked for."""

import gc
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, NoneType
from typing import Any

__all__ = [
    "defer_compiler",
    "quick_imports",
    "starts_quickly",
    "without_collector",
    "without_transformers",
    "without_wandb",
]

COMPILER, TRANSFORMERS = "torch._dynamo", "transformers"


def starts_quickly() -> bool:
    """Whether a start may go around what torch, diffusers and Hydra do for nobody.

    SDG_QUICK_START=0 switches that off, for versions of them in which it no longer fits.
    """
    return os.environ.get("SDG_QUICK_START") != "0"


@contextmanager
def quick_imports(compiler: bool, transformers: bool = False) -> Iterator[None]:
    """Imports of the heavy libraries in half of their time; plainly with SDG_QUICK_START=0.

    Arguments:
        compiler: whether the run compiles a network or trains one, and so needs torch's compiler.
        transformers: whether diffusers may need that library, as code of the user's own may ask.
    """
    if not starts_quickly():
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(without_collector())
        stack.enter_context(without_wandb())
        if not transformers:
            stack.enter_context(without_transformers())
        stack.enter_context(distributions_on_demand())
        if not compiler:
            defer_compiler()
        yield


@contextmanager
def without_collector() -> Iterator[None]:
    """Imports make a million objects and no garbage; these are not searched for it later either.

    Nothing is done where the heavy libraries are imported already.
    """
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without_wandb() -> Iterator[None]:
    """timm imports W&B wherever it is installed; that leaves folders in TMPDIR.

    A logger that wants it imports it later.
    """
    with hidden("wandb"):
        yield


@contextmanager
def without_transformers() -> Iterator[None]:
    """diffusers, open_clip and torchmetrics import it wherever it is installed; that takes seconds.

    What reads prompts imports it later. These three remember that it was not there: in this process
    none of diffusers' pipelines that need it can be had.
    """
    distributions: Any = importlib.metadata.Distribution
    own, read = vars(distributions)["from_name"], distributions.from_name

    def of_others(name: str) -> importlib.metadata.Distribution:
        if name == TRANSFORMERS:
            raise importlib.metadata.PackageNotFoundError(name)
        return read(name)

    with hidden(TRANSFORMERS):
        distributions.from_name = staticmethod(of_others)
        try:
            yield
        finally:
            distributions.from_name = own


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """As if a package were not installed; nothing is done where it is imported already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # it cannot be imported now
    try:
        yield
    finally:
        del sys.modules[package]


@contextmanager
def distributions_on_demand() -> Iterator[None]:
    """diffusers lists the files of all that is installed, and seldom asks the list for anything."""
    read = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = lambda: OnDemand(read)
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = read


class OnDemand(Mapping):
    """A mapping that is read when it is first asked for something."""

    def __init__(self, read: Callable[[], Mapping]):
        self.read = read

    @cached_property
    def items_read(self) -> Mapping:
        return self.read()

    def __getitem__(self, key):
        return self.items_read[key]

    def __iter__(self):
        return iter(self.items_read)

    def __len__(self) -> int:
        return len(self.items_read)


def defer_compiler() -> None:
    """Puts stand-ins for torch's compiler, whose import takes a quarter of the time of all.

    Lightning, diffusers, torchvision and torch's counter of operations want a few names of it,
    which have no effect where nothing is compiled. Any other name imports it, as `torch.compile`
    does.
    """
    place = None if COMPILER in sys.modules else find_spec(COMPILER)
    if place is None:
        return
    package = StandIn(COMPILER, OptimizedModule=Compiled, allow_in_graph=same, disable=same)
    package.__path__ = list(place.submodule_search_locations or [])
    sys.modules[COMPILER] = package
    name = f"{COMPILER}.utils"
    sys.modules[name] = StandIn(name, is_compile_supported=compile_supported)


class StandIn(ModuleType):
    """A module with a few names of its own; any other imports the true one."""

    def __init__(self, name: str, **names: Any):
        super().__init__(name)
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `inspect` asks every module for such
            raise AttributeError(name)
        return getattr(true(self.__name__), name)


def true(name: str) -> ModuleType:
    """The module of this name, instead of its stand-in."""
    for key in [key for key, module in sys.modules.items() if isinstance(module, StandIn)]:
        del sys.modules[key]
    return import_module(name)


class OfCompiled(type):
    def __instancecheck__(cls, module: object) -> bool:
        compiler = sys.modules.get(COMPILER)
        return not isinstance(compiler, (StandIn, NoneType)) and isinstance(
            module, compiler.OptimizedModule
        )


class Compiled(metaclass=OfCompiled):
    """What `torch.compile` makes of a module, of which there is none before it is imported."""


def same(function: Callable | None = None, *_: Any, **__: Any) -> Callable:
    """A function as it is, or what decorates one so: nothing compiles it."""
    return function or same


def compile_supported(device_type: str) -> bool:
    """Whether torch can compile for a kind of device."""
    return true(f"{COMPILER}.utils").is_compile_supported(device_type)
