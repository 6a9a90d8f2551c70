"""What a file of weights says of itself, read without torch and without its tensors."""

from pathlib import Path

from safetensors import safe_open

from sdg.io.files import regular

__all__ = ["metadata_of"]


def metadata_of(file: str | Path) -> dict[str, str]:
    """What a .safetensors says of itself, beside its tensors.

    Raises:
        OSError: it cannot be read.
        safetensors.SafetensorError: it is damaged.
    """
    with safe_open(str(regular(file)), "np") as handle:
        return handle.metadata() or {}
