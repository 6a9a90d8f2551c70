"""Work shared among processes that any script may start, guarded or not."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from pickle import PicklingError
from types import ModuleType
from typing import Any

from sdg.data.workers import serve
from sdg.machine.cpus import usable_cpus

__all__ = ["map_parts"]

MOST = 16  # processes


class LibraryProcess(SpawnProcess):
    """A spawned process that does not import the program that started it.

    A script without `if __name__ == "__main__"` would otherwise run anew in each of them.
    """

    @staticmethod
    def _Popen(process):
        program = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # what the new process is told of
        try:
            return SpawnProcess._Popen(process)
        finally:
            sys.modules["__main__"] = program


class LibraryContext(SpawnContext):
    Process = LibraryProcess


def map_parts(function: Callable, parts: Sequence, *options) -> Iterator[Any]:
    """function(part, *options) of every part, in order, from a process for each usable CPU.

    Where they cannot be used, this process does what is left.

    Arguments:
        function: the other processes import it by name; one of the program itself they cannot.
    """
    done = 0
    if not multiprocessing.current_process().daemon:  # such as a DataLoader's: it may start none
        arguments = ([option] * len(parts) for option in options)
        try:
            number = min(usable_cpus(), MOST)
            with ProcessPoolExecutor(number, LibraryContext(), serve, (0,)) as pool:
                for result in pool.map(function, parts, *arguments):
                    yield result
                    done += 1
        except (BrokenProcessPool, OSError, PicklingError) as error:
            print(f"other processes cannot be used ({error}); this one goes on alone", flush=True)
    for part in parts[done:]:
        yield function(part, *options)
