"""What a file of a denoiser holds, whoever wrote it."""

from typing import NamedTuple

from torch import Tensor

from sdg.errors import UserError

__all__ = ["DenoiserFile", "MissingSettings"]


class DenoiserFile(NamedTuple):
    """A denoiser as a file has it.

    Arguments:
        path: where.
        config: what rebuilds it, as in our own files: `denoiser`, `schedule`, `resolution`.
        tensors: of the network.
        kind: of file.
        sources: {setting: (value, who says so)}, for people.
    """

    path: str
    config: dict
    tensors: dict[str, Tensor]
    kind: str
    sources: dict[str, tuple[object, str]]


class MissingSettings(UserError):
    """A file cannot tell all that it takes to use it.

    Arguments:
        problem: what the file is; the message goes on with what to set.
        kind: of file.
        missing: the settings that somebody must say, each under all its names.
        section: of the config where they stand, with its dot.
    """

    def __init__(self, problem: str, kind: str, missing: list[list[str]], section: str = ""):
        self.problem, self.kind, self.missing = problem, kind, missing
        names = [" or ".join(f"{section}{name}" for name in either) for either in missing]
        super().__init__(f"{problem}: set {', '.join(names)}, as in its training flags.")
