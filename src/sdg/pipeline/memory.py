"""Batches that are drawn in parts where memory does not hold them whole."""

import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sdg.data.requests import Request
from sdg.errors import UserError

__all__ = ["MemoryParts", "is_out_of_memory"]

CPU = "not enough memory"  # what torch's allocator says of a CPU


class MemoryParts:
    """How many samples are drawn at once: as many as asked, until memory is short.

    Arguments:
        size: of a part at most.
    """

    def __init__(self, size: int):
        self.size = size

    def draw(self, draw: Callable[[list[Request]], Tensor], batch: Sequence[Request]) -> Tensor:
        """The samples of a batch, (B, 3, H, W).

        Where memory is short the part is halved, also for later batches, and drawn once more.
        Samples are the same but for rounding: each has its own noise.

        Arguments:
            draw: draws a part of the batch, from its start.

        Raises:
            UserError: one sample is too much.
        """
        drawn: list[Tensor] = []
        first = 0
        while first < len(batch):
            part = list(batch[first : first + self.size])
            images = self.attempt(draw, part)
            if images is not None:
                drawn.append(images)
                first += len(part)
        return torch.cat(drawn)

    def attempt(
        self, draw: Callable[[list[Request]], Tensor], part: list[Request]
    ) -> Tensor | None:
        """The samples of a part; None where memory was short, and the next one is smaller."""
        try:
            return draw(part)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise UserError(
                    "there is not enough memory for one sample; take a smaller precision, "
                    "checkpointing of the encoder, or a smaller model."
                ) from error
        # Behind the `except`, whose error holds on to the tensors of the failed attempt.
        self.size = len(part) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(
            f"memory is short for {len(part)} samples at once; going on with {self.size}.",
            file=sys.stderr,
            flush=True,
        )
        return None


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory is used up, of a GPU or the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or CPU in str(error)
