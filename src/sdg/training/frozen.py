"""A network that a training uses and never changes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from sdg.models.autoencoder import Autoencoder

__all__ = ["FrozenAutoencoder"]


class FrozenAutoencoder(nn.Module):
    """Moves an autoencoder with the module that it is a part of, and keeps it out of its weights.

    No checkpoint holds it, and the average of the module's weights has no copy of it: a run loads
    it from its own file.

    Arguments:
        network: None where there is none.
    """

    def __init__(self, network: Autoencoder | None):
        super().__init__()
        self.held = (network,)  # in a tuple, where torch looks for no weights

    @property
    def network(self) -> Autoencoder | None:
        return self.held[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FrozenAutoencoder":
        if self.network is not None:
            self.network._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "FrozenAutoencoder":
        return self
