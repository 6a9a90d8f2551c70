"""What kind of weights a file or a folder holds."""

from pathlib import Path

from sdg.io.diffusers_autoencoder import is_autoencoder
from sdg.io.noisy_clips import foreign_part
from sdg.io.weights import header

__all__ = ["kind_of"]


def kind_of(place: Path) -> str:
    """The kind of weights of a file or folder; "denoiser" of what has no header and no other."""
    if part := foreign_part(place):
        return part.kind
    if own := header(place):
        return str(own["kind"])
    return "autoencoder" if is_autoencoder(place) else "denoiser"
