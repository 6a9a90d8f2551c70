"""Noisy CLIPs that others trained: which of their encoders a file holds, and its reader."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from sdg.errors import UserError
from sdg.io.glide import from_glide_image, from_glide_text, is_glide_image, is_glide_text
from sdg.io.hub import located
from sdg.io.pretrained import tensors_of
from sdg.io.sdg_code import from_sdg_code, is_sdg_code
from sdg.io.tensors import tensor_shapes
from sdg.io.weights import header, read_weights

__all__ = ["ForeignPart", "foreign_part", "read_part"]

Content = tuple[dict, dict[str, Tensor]]  # the config and the tensors of our own files
GLIDE = "; GLIDE's two files guide together: encoder.weights=clip_image_enc.pt " + (
    "encoder.clip=clip_text_enc.pt"
)


class ForeignPart(NamedTuple):
    """An encoder of a noisy CLIP in a layout of others.

    Arguments:
        kind: of weights that it becomes: `clip_noisy`, or `clip_text`.
        words: what it is called in messages.
        use: how it is used, the end of a message.
        knows: whether tensors of these names are one.
        reader: from a file's tensors, and its path for messages, to what our own files hold.
    """

    kind: str
    words: str
    use: str
    knows: Callable[[Collection[str]], bool]
    reader: Callable[[Mapping[str, Tensor], str], Content]


PARTS = (
    ForeignPart(
        "clip_noisy", "a noisy CLIP of the SDG authors' code", "", is_sdg_code, from_sdg_code
    ),
    ForeignPart(
        "clip_noisy",
        "the image encoder of GLIDE's noised CLIP",
        GLIDE,
        is_glide_image,
        from_glide_image,
    ),
    ForeignPart(
        "clip_text",
        "the text encoder of GLIDE's noised CLIP",
        GLIDE,
        is_glide_text,
        from_glide_text,
    ),
)


def foreign_part(place: Path) -> ForeignPart | None:
    """What a file holds of somebody else's noisy CLIP, by its names; None for other files."""
    if not place.is_file() or header(place) is not None:
        return None
    names: Collection[str] = (
        tensor_shapes(place) if place.suffix == ".safetensors" else tensors_of(place)
    )
    return next((part for part in PARTS if part.knows(names)), None)


def read_part(file: str | Path, kind: str) -> Content:
    """The config and the tensors of a part, of this project or of somebody else's noisy CLIP.

    Arguments:
        file: as of `read_weights`.
        kind: of weights that are needed, such as `clip_noisy`.

    Raises:
        UserError: it holds another part, or cannot be read.
    """
    place = located(file)
    part = foreign_part(place)
    if part is None:
        return read_weights(file, kind)
    if part.kind != kind:
        raise UserError(
            f"{file} is {part.words}, and weights of the kind {kind} are needed here{part.use}."
        )
    return part.reader(tensors_of(place), str(file))
