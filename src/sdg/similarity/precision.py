"""How precisely a similarity is computed: the encoder as the run says, all else in float32."""

from collections.abc import Callable

import torch

from sdg.models.stages import Encoded

__all__ = ["encoder_precision", "in_float32"]


def encoder_precision(device: str) -> torch.autocast:
    """The precision that is in force now, for an encoder that is run later.

    A gradient through float16 underflows, as nothing scales it; such a run keeps its encoder in
    float32, whose cost bfloat16 saves.

    Arguments:
        device: its type, such as `cuda`.
    """
    dtype = torch.get_autocast_dtype(device)
    wanted = torch.is_autocast_enabled(device) and dtype == torch.bfloat16
    return torch.autocast(device, dtype if wanted else torch.bfloat16, enabled=wanted)


def in_float32(encode: Callable[[], Encoded], precision: torch.autocast) -> Encoded:
    """What an encoder gives in this precision, in float32 for what is computed from it.

    An encoder of double precision keeps it.
    """
    with precision:
        encoded = encode()
    return encoded.at_least_float32()
