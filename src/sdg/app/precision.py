"""How precisely a run computes, where its settings leave it open."""

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["chosen_precision"]

ON_GPU, ON_CPU = ("auto", "gpu", "cuda"), ("auto", "cpu")


def chosen_precision(trainer: Mapping[str, Any]) -> Any:
    """The precision of a trainer; of `auto`, bf16-mixed where the device computes in bfloat16.

    Arguments:
        trainer: its settings.
    """
    if trainer["precision"] != "auto":
        return trainer["precision"]
    return "bf16-mixed" if has_bfloat16(trainer["accelerator"]) else "32-true"


def has_bfloat16(accelerator: str) -> bool:
    """Whether the device has instructions for bfloat16, and does not merely imitate them."""
    if accelerator in ON_GPU and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return accelerator in ON_CPU and torch.cpu._is_avx512_bf16_supported()
