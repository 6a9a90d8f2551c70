"""Whether an image encoder and a text encoder belong together."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdg.errors import UserError
from sdg.io.plain import differences
from sdg.models.clip import CLIP
from sdg.models.encoder import ImageEncoder, TextEncoder
from sdg.models.noisy import NoisyEncoder

__all__ = ["check_kin"]


def check_kin(image: ImageEncoder, text: TextEncoder | None) -> None:
    """Whether an image encoder and a text encoder embed in one space, as far as configs tell.

    Raises:
        UserError: they do not.
    """
    if not isinstance(text, CLIP):
        return
    theirs = tower_sizes(text.config["model"])
    if isinstance(image, NoisyEncoder):
        ours = tower_sizes(image.config["clip"]["model"])
        if ours != theirs:
            unlike = "; ".join(
                f"{key} is {value} there and {other} here"
                for key, value, other in differences(ours, theirs)
            )
            raise UserError(
                "the noise-aware encoder was made from another CLIP than the clean one beside it "
                f"({unlike}); give its own, on the command line by encoder.clip, or by "
                "encoder.name and encoder.pretrained."
            )
    elif isinstance(image, CLIP) and image.config["model"]["embed_dim"] != theirs["embed_dim"]:
        raise UserError(
            f"the image encoder embeds in {image.config['model']['embed_dim']} dimensions, the "
            f"text encoder in {theirs['embed_dim']}; give both towers of one CLIP."
        )


def tower_sizes(model: Mapping[str, Any]) -> dict[str, Any]:
    """What must agree between an encoder's CLIP and the one beside it."""
    text, vision = model["text_cfg"], model["vision_cfg"]
    return {
        "embed_dim": model["embed_dim"],
        "text": text and picked(text, ("width", "layers", "vocab_size")),
        "vision": picked(vision, ("layers", "width", "patch_size", "timm_model_name")),
    }


def picked(config: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key in keys}
