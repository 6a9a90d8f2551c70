"""A process that another one of the same run has launched ends with it."""

import os

from sdg.data.workers import end_with

__all__ = ["GO_ON", "PARENT", "end_launched", "follow_parent", "launched_rank", "write"]

PARENT = "SDG_PARENT"  # environment variable: the process that launched this one
GO_ON = "A training goes on with resume=true, sampling with the same command."


def follow_parent() -> None:
    """Ends this process with the one that launched it; nothing for a process of the user's."""
    rank = launched_rank()
    if not rank:
        return

    def say() -> None:
        if rank == 1:
            write(f"the first process of this run was killed; the run ends. {GO_ON}")

    end_with(int(os.environ[PARENT]), say)


def launched_rank() -> int:
    """This process's number on its machine; 0 for one that no other of the run has launched."""
    return int(os.environ.get("LOCAL_RANK", "0")) if PARENT in os.environ else 0


def end_launched(message: str) -> None:
    """Ends a launched process with its error at once, for the first to see that it has ended."""
    if launched_rank():
        write(message)
        os._exit(1)


def write(line: str) -> None:
    """Writes an error, whatever the main thread is at."""
    os.write(2, f"error: {line}\n".encode())
