"""Networks that a training asks and does not train."""

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from sdg.errors import UserError

__all__ = ["Frozen", "check_frozen"]

Network = TypeVar("Network", bound=nn.Module)


class Frozen(nn.Module, Generic[Network]):
    """Moves a network with the module that it is a part of, and keeps it out of its weights.

    No checkpoint holds it, and the average of the module's weights has no copy of it: a run loads
    it from its own file.

    Arguments:
        network: None where there is none.
    """

    def __init__(self, network: Network | None):
        super().__init__()
        self.held = (network,)  # in a tuple, where torch looks for no weights

    @property
    def network(self) -> Network | None:
        return self.held[0]

    @cached_property
    def digest(self) -> str | None:
        """Of its weights, which stay; None where there is no network."""
        return None if self.network is None else digest_of(self.network.state_dict())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen[Network]":
        if self.network is not None:
            self.network._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Frozen[Network]":
        memo[id(self.network)] = self.network  # whatever else of the module holds it
        return self


def check_frozen(checkpoint: dict[str, Any], name: str, part: Frozen[Any]) -> None:
    """Whether a checkpoint was trained with this network; takes it out of an early one.

    Arguments:
        checkpoint: has the digest, or, of an earlier version, the network itself.
        name: of the module's attribute.

    Raises:
        UserError: it was trained with other weights.
    """
    theirs = checkpoint.get("frozen", {}).get(name)
    for key in ("state_dict", "current_model_state"):
        state, prefix = checkpoint.get(key, {}), f"{name}."
        own = {k.removeprefix(prefix): state.pop(k) for k in list(state) if k.startswith(prefix)}
        theirs = digest_of(own) if own else theirs
    if theirs != part.digest:
        raise UserError(
            f"the checkpoint was trained with another {name} than this run's, whose weights are "
            "others: resume with the file that it began with, or start anew with init=FILE."
        )


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """A digest of the values of tensors by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {values.dtype} {len(values)}".encode())
        digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
