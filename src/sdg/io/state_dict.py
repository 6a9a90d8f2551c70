"""A state dict of somebody else's: what its names and shapes tell, and who says the rest."""

from collections.abc import Mapping

from torch import Tensor

from sdg.errors import UserError

__all__ = ["StateDict"]


class StateDict:
    """The tensors of a file, with what the user says of it.

    Arguments:
        tensors: under the file's names.
        given: {setting: value} of the user.
        path: of the file, for messages.
        kind: of network, such as "a JiT", for messages.
        accepted: the settings that such a file takes.

    Attributes:
        sources: {setting: (value, who says so)} of those that were settled.

    Raises:
        UserError: a setting is given that such a file does not take.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        given: Mapping,
        path: str,
        kind: str,
        accepted: tuple[str, ...] = (),
    ):
        self.tensors, self.given, self.path, self.kind = tensors, given, path, kind
        self.sources: dict[str, tuple[object, str]] = {}
        if surplus := [name for name in given if name not in accepted]:
            raise UserError(
                f"{path} is {kind}, which takes no {' nor '.join(surplus)}; leave that out."
            )

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor that must be there.

        Raises:
            UserError: it is not, or it has other dimensions.
        """
        if name not in self.tensors:
            raise UserError(f"{self.path} looks like {self.kind}, but has no {name}.")
        shape = tuple(self.tensors[name].shape)
        if len(shape) != dimensions or 0 in shape:
            raise UserError(
                f"{self.path} looks like {self.kind}, but its {name} has the shape {shape}, not "
                f"one of {dimensions} dimensions."
            )
        return shape

    def count(self, prefix: str) -> int:
        """How many numbers follow `prefix.` in the names."""
        start = f"{prefix}."
        return len(
            {name[len(start) :].split(".")[0] for name in self.tensors if name.startswith(start)}
        )

    def settle(self, name: str, default, source: str):
        """The value of a setting: the user's, else this default of this source."""
        known = (self.given[name], "you") if name in self.given else (default, source)
        self.sources[name] = known
        return known[0]

    def refuse(self, problem: str) -> UserError:
        """The error that says why such a file cannot be read."""
        return UserError(f"{self.path} looks like {self.kind}, but {problem}.")
