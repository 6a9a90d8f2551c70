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
        kind: of file.
        missing: the settings that somebody must say.
    """

    def __init__(self, message: str, kind: str, missing: list[str]):
        super().__init__(message)
        self.kind, self.missing = kind, missing
