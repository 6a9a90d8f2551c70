"""What encoders give, checked, so that a mistake in one of the user's own is said where it is."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sdg.errors import UserError
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.models.stages import Encoded

__all__ = ["check_spaces", "check_unit", "encode_images", "encode_sentences", "name_of"]

TOLERANCE = 0.05  # of a unit length; bfloat16 rounds by less


def encode_images(
    encoder: ImageEncoder, x: Tensor, t: Tensor, stages: Sequence[str] = ()
) -> Encoded:
    """`encoder.encode(x, t, stages)`; its lengths are not looked at, for which a GPU would wait.

    Raises:
        UserError: it is no `Encoded`, its z is not (B, D), or a stage's map is missing.
    """
    encoded: Any = encoder.encode(x, t, stages)
    name = name_of(encoder)
    if not isinstance(encoded, Encoded):
        raise UserError(
            f"encoder {name}: its encode gave {kind_text(encoded)}; it must give an Encoded(z, "
            "maps), z of shape (B, D) and unit length."
        )
    check_shape(name, "encode", encoded.z, len(x))
    for stage in stages:
        if stage not in encoded.maps:
            raise UserError(
                f"encoder {name}: its encode gave no map of {stage!r}, of which it was asked; it "
                "must give one of every stage in its `stage_names`."
            )
    return encoded


def encode_sentences(encoder: TextEncoder, sentences: Sequence[str]) -> Tensor:
    """`encoder.encode_text(sentences)`.

    Raises:
        UserError: it does not give unit embeddings, (N, D).
    """
    z, name = encoder.encode_text(sentences), name_of(encoder)
    check_shape(name, "encode_text", z, len(sentences))
    check_unit(name, "encode_text", z)
    return z


def check_shape(name: str, method: str, z: Tensor, count: int) -> None:
    """Whether these are embeddings of so many images or sentences.

    Arguments:
        name: of the encoder.
        method: of it, that gave them.
    """
    if not isinstance(z, Tensor) or z.ndim != 2 or len(z) != count:
        raise UserError(
            f"encoder {name}: its {method} gave {kind_text(z)} for {count} inputs; it must give "
            f"one embedding each, a tensor of shape ({count}, D)."
        )


def check_unit(name: str, method: str, z: Tensor) -> None:
    """Whether embeddings have unit length; zero, of what shows nothing, is let through.

    Arguments:
        name, method: as of `check_shape`.
        z: (B, D).
    """
    lengths = z.detach().norm(dim=1)
    off = lengths[((lengths - 1).abs() > TOLERANCE) & (lengths > 0) & lengths.isfinite()]
    if len(off):
        raise UserError(
            f"encoder {name}: its {method} gave an embedding of length {off[0]:.3g}; it must be 1: "
            "torch.nn.functional.normalize(z, dim=-1)."
        )


def check_spaces(names: tuple[str, str], z: Tensor, embeddings: Tensor) -> None:
    """Whether images and sentences are embedded in as many dimensions.

    Arguments:
        names: of the image encoder and of the text encoder.
        z: of images, (B, D).
        embeddings: of sentences, (N, D).
    """
    if z.shape[1] != embeddings.shape[1]:
        raise UserError(
            f"the image encoder {names[0]} embeds in {z.shape[1]} dimensions, the text encoder "
            f"{names[1]} in {embeddings.shape[1]}; they must embed in one space."
        )


def name_of(encoder: object) -> str:
    """The name of its class."""
    return type(encoder).__name__


def kind_text(value: object) -> str:
    """A value of the wrong kind, or a tensor of the wrong shape."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return type(value).__name__
