"""The embeddings of a bank of captions, kept from one call to the next."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sdg.models.encoder import TextEncoder
from sdg.models.encoding import encode_sentences

__all__ = ["CaptionEmbeddings"]


class CaptionEmbeddings:
    """E_text of captions, computed again where they, the weights or the arithmetic change.

    A change of weights is seen by the counters that torch keeps of writes to a tensor; those
    through `.data` it does not count. The arithmetic is autocast's, and that of inference mode. A
    text encoder that is no module is asked every time.
    """

    def __init__(self) -> None:
        self.state: tuple[object, ...] | None = None
        self.embeddings: Tensor | None = None

    @torch.no_grad()
    def encode(self, text_encoder: TextEncoder, captions: Sequence[str]) -> Tensor | None:
        """Unit embeddings, (N, D); None of no captions."""
        if not captions:
            return None
        if not isinstance(text_encoder, nn.Module):
            return encode_sentences(text_encoder, captions)
        state = (tuple(captions), *arithmetic(), *state_of(text_encoder))
        if self.embeddings is None or state != self.state:
            self.embeddings, self.state = encode_sentences(text_encoder, captions), state
        return self.embeddings


def arithmetic() -> tuple[object, ...]:
    """The modes of torch that decide what comes of a forward pass."""
    mixed = [
        torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)
        for kind in ("cpu", "cuda")
    ]
    return torch.is_inference_mode_enabled(), *mixed


def state_of(module: nn.Module) -> tuple[object, ...]:
    """What tells a module's weights from those before: where each lies, and how often written."""
    tensors = [*module.parameters(), *module.buffers()]
    places = [tensor.data_ptr() for tensor in tensors]
    # Tensors of inference mode have no such counter, and cannot be trained.
    writes = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
    return (id(module), *places, *writes)
