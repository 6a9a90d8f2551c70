"""Arithmetic that rounds alike, whatever shares a batch and however many threads there are.

How a matrix product is rounded depends on its shape and on how many threads share it. So samples
are drawn one at a time, sentences are encoded one at a time, and one thread computes each.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from sdg.models.encoder import Encoders, TextEncoder
from sdg.models.encoding import encode_sentences

__all__ = ["WORKSPACE", "OneByOne", "deterministic_arithmetic", "one_by_one"]


WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # which cuBLAS needs for deterministic algorithms


@contextmanager
def deterministic_arithmetic(wanted: bool = True) -> Iterator[None]:
    """One thread and torch's deterministic algorithms; what was set before comes back.

    Arguments:
        wanted: False changes nothing.
    """
    if not wanted:
        yield
        return
    workspace = os.environ.get(WORKSPACE)
    os.environ.setdefault(WORKSPACE, ":4096:8")
    threads, before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(before, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(WORKSPACE, None)


class OneByOne:
    """E_text, which gets one sentence at a time.

    Arguments:
        text_encoder: E_text.
    """

    def __init__(self, text_encoder: TextEncoder):
        self.text_encoder = text_encoder

    @property
    def tokenizer(self) -> object:
        """The text encoder's, if it has one."""
        return getattr(self.text_encoder, "tokenizer", None)

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Unit embeddings (N, D) of N sentences."""
        return torch.cat([encode_sentences(self.text_encoder, [each]) for each in sentences])

    def to(self, device: torch.device, /) -> "OneByOne":
        """Moves its weights."""
        self.text_encoder.to(device)
        return self


def one_by_one(encoders: Encoders | None) -> Encoders | None:
    """These encoders, of which the text encoder gets one sentence at a time."""
    if encoders is None or encoders.text is None:
        return encoders
    return Encoders(encoders.image, OneByOne(encoders.text))
