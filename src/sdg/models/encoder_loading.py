"""From a weight file, or a name, to encoders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import timm

from sdg.errors import UserError, choice
from sdg.io.hub import located
from sdg.io.noisy_clips import read_part
from sdg.io.weight_kind import kind_of
from sdg.io.weights import read_weights
from sdg.models.build import build_noisy_encoder, frozen
from sdg.models.classifier import NoisyClassifier
from sdg.models.clip import CLIP
from sdg.models.encoder import Encoders, TextEncoder
from sdg.models.glide import GlideImageEncoder, GlideTextEncoder
from sdg.models.kin import check_kin
from sdg.models.noisy import NoisyEncoder
from sdg.models.published_clips import clip_by_name

__all__ = [
    "chosen_clip",
    "classifier_encoders",
    "clean_encoders",
    "load_classifier",
    "load_clip",
    "load_clip_noisy",
    "load_clip_text",
    "noise_aware_encoders",
]


def chosen_clip(encoder: Mapping[str, Any]) -> CLIP:
    """The clean CLIP that `conf/encoder` names.

    It is open_clip's or timm's `name` with its `pretrained` weights, else the file `clip`.
    """
    if encoder.get("name") is None:
        if encoder.get("pretrained") is not None:
            raise UserError(
                f"encoder.pretrained={encoder['pretrained']} are weights of which model? Set "
                "encoder.name too, such as encoder.name=RN50."
            )
        return load_clip(encoder["clip"])
    return clip_by_name(
        str(encoder["name"]), encoder.get("pretrained") and str(encoder["pretrained"])
    )


def load_clip(file: str | Path) -> CLIP:
    """The clean CLIP of a weight file, both towers; or of `NAME:PRETRAINED`.

    Such a name is ViT-B-32:openai, as `clip_by_name` takes it.
    """
    name, colon, pretrained = str(file).partition(":")
    is_name = bool(colon) and (name in open_clip.list_models() or timm.is_model(name))
    if is_name and not Path(file).exists():
        return clip_by_name(name, pretrained)
    config, tensors = read_part(file, "clip")
    return frozen(lambda: CLIP(**config), tensors, file)


def load_clip_noisy(file: str | Path) -> NoisyEncoder:
    """The noise-aware image encoder of a weight file, or of a noisy CLIP that others trained."""
    config, tensors = read_part(file, "clip_noisy")
    return frozen(lambda: build_noisy_encoder(config), tensors, file)


def load_clip_text(file: str | Path) -> GlideTextEncoder:
    """The text encoder of GLIDE's noised CLIP, of its own file or of one of this project."""
    config, tensors = read_part(file, "clip_text")
    return frozen(lambda: GlideTextEncoder(**config), tensors, file)


def noise_aware_encoders(
    weights: str,
    clip: str,
    name: str | None = None,
    pretrained: str | None = None,
    checkpointing: bool = False,
) -> Encoders:
    """A noise-aware encoder with the text tower of its CLIP.

    Arguments:
        weights: its file or folder.
        clip, name, pretrained: its CLIP, as of `chosen_clip`.
        checkpointing: less memory for a gradient, and a forward pass more.
    """
    image = load_clip_noisy(weights)
    image.checkpointing = choice("encoder.checkpointing", checkpointing, (False, True))
    text = text_encoder(image, {"clip": clip, "name": name, "pretrained": pretrained})
    check_kin(image, text)
    return Encoders(image, text)


def text_encoder(image: NoisyEncoder, chosen: Mapping[str, Any]) -> TextEncoder:
    """What reads sentences beside a noise-aware encoder: its CLIP, or GLIDE's text encoder.

    Arguments:
        chosen: as of `chosen_clip`.

    Raises:
        UserError: another CLIP is chosen beside GLIDE's image encoder.
    """
    if not isinstance(image, GlideImageEncoder):
        return chosen_clip(chosen)
    key = "clip" if chosen["name"] is None else "name"
    if key == "name" or kind_of(located(chosen["clip"])) != "clip_text":
        raise UserError(
            f"encoder.{key}={chosen[key]}: GLIDE's noised CLIP reads sentences with its own text "
            "encoder; give encoder.clip=clip_text_enc.pt."
        )
    return load_clip_text(chosen["clip"])


def clean_encoders(clip: str, name: str | None = None, pretrained: str | None = None) -> Encoders:
    """Both towers of a clean CLIP, as of `chosen_clip`."""
    both = chosen_clip({"clip": clip, "name": name, "pretrained": pretrained})
    return Encoders(both, both)


def classifier_encoders(weights: str) -> Encoders:
    """The noise-aware classifier of a file or folder."""
    return Encoders(load_classifier(weights))


def load_classifier(file: str | Path) -> NoisyClassifier:
    """The noise-aware classifier of a weight file."""
    config, tensors = read_weights(file, "classifier_noisy")
    return frozen(lambda: NoisyClassifier(**config), tensors, file)
