"""Batches that are drawn in parts where memory does not hold them whole."""

import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from sdg.data.requests import Request
from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError
from sdg.guidance.guidance import Guidance
from sdg.machine.ram import available_memory
from sdg.models.autoencoder import Autoencoder
from sdg.models.encoder import ImageEncoder
from sdg.models.encoding import encode_images

__all__ = ["MemoryParts", "estimate", "fitting_batch", "is_out_of_memory"]

ON_CPU, ON_GPU = 64, 256  # samples at once at most: more is no faster
SHARE = 0.5  # of the free memory that a batch's graph may take; what no graph keeps needs some too
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


def fitting_batch(
    denoiser: Denoiser,
    encoder: ImageEncoder | None,
    shape: Sequence[int],
    device: torch.device,
    autoencoder: Autoencoder | None = None,
    guidance: Guidance | None = None,
) -> int:
    """How many samples to draw at once, for `batch_size=auto`.

    On a CPU, which is never short of memory before the system ends the program, it is what both
    networks' graphs leave room for, at most 64. On a GPU it is 256, which `MemoryParts` halves.

    Arguments:
        encoder: of the similarity; None where nothing is guided.
        shape: of what is sampled, (C, H, W).
        device: where samples are drawn.
        autoencoder: of latents, whose images an encoder of images reads.
        guidance: its candidates, and its draws around x̂_0, are held at once; None has one of each.
    """
    if device.type != "cpu":
        return ON_GPU
    free = available_memory()
    if free is None:
        return ON_CPU
    x = torch.zeros(1, *shape)
    bytes_of_one = 0
    candidates = 1 if guidance is None else guidance.candidates
    for each in denoiser.passes:
        bytes_of_one += graph_bytes(partial(estimate, each), x)
    if encoder is not None:
        decoder = autoencoder if encoder.latent_channels is None else None

        def embedding(x: Tensor) -> Tensor:
            seen = x if decoder is None else decoder.decode(x)
            return encode_images(encoder, seen, torch.zeros(len(x), dtype=torch.long)).z

        images = 1 if guidance is None else guidance.encoded_at_once
        bytes_of_one += images * graph_bytes(embedding, x)
    return max(1, min(ON_CPU, int(SHARE * free / max(bytes_of_one * candidates, 1))))


def estimate(denoiser: Denoiser, x: Tensor) -> Tensor:
    """x̂_0 at level 0, where only the cost of a call is asked for."""
    return denoiser(x, 0).x0


def graph_bytes(network: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """What a network keeps of one more sample for its gradient; its weights are not counted.

    Arguments:
        x: one sample, (1, 3, H, W).
    """
    kept = []
    for rows in (1, 2):
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
            graph = network(x.expand(rows, *x.shape[1:]).clone().requires_grad_())
        kept.append(sum(sizes.values()))
        del graph
    return kept[1] - kept[0]
