"""From a weight file, or a name, to a model: the one door to all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError, choice
from sdg.io.autoencoder_file import no_autoencoder
from sdg.io.diffusers_autoencoder import AUTOENCODER_NETWORKS, autoencoder_folder
from sdg.io.diffusers_network import network_file
from sdg.io.hub import located
from sdg.io.pretrained import ASKED, PROMPTS
from sdg.io.shipped import INDEX, on_this_machine, shipped_names
from sdg.io.weight_kind import kind_of
from sdg.io.weights import header, read_weights
from sdg.models.autoencoder import Autoencoder, build_autoencoder
from sdg.models.build import frozen
from sdg.models.classifier import NoisyClassifier
from sdg.models.clip import CLIP
from sdg.models.denoiser_loading import denoiser_from, load_denoiser, load_weaker
from sdg.models.encoder_loading import (
    chosen_clip,
    classifier_encoders,
    clean_encoders,
    load_classifier,
    load_clip,
    load_clip_noisy,
    load_clip_text,
    noise_aware_encoders,
)
from sdg.models.glide import GlideTextEncoder
from sdg.models.judge import Judge
from sdg.models.noisy import NoisyEncoder

__all__ = [
    "Part",
    "chosen_clip",
    "classifier_encoders",
    "clean_encoders",
    "denoiser_from",
    "from_pretrained",
    "kind_of",
    "load_autoencoder",
    "load_classifier",
    "load_clip",
    "load_clip_noisy",
    "load_clip_text",
    "load_denoiser",
    "load_judge",
    "load_weaker",
    "noise_aware_encoders",
    "read_autoencoder",
]

Part = CLIP | NoisyEncoder | GlideTextEncoder | NoisyClassifier | Judge | Autoencoder


def load_autoencoder(path: str | Path) -> Autoencoder:
    """The autoencoder of a weight file, or of a folder that diffusers wrote.

    Arguments:
        path: the file; or a folder with an `AutoencoderKL`, an `AutoencoderTiny` or a `VQModel`, or
            with a whole pipeline that has one; or `owner/name` of such a folder on the hub.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    config, tensors = read_autoencoder(path)
    return frozen(lambda: build_autoencoder(**config), tensors, path)


def read_autoencoder(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the tensors of an autoencoder, as of `load_autoencoder`."""
    place = located(path)
    place = autoencoder_folder(place) or place
    if header(place) is None:
        if (place / "config.json").is_file():
            return network_file(place, AUTOENCODER_NETWORKS)
        if header(place / "autoencoder") is None:
            raise no_autoencoder(path)
    return read_weights(place, "autoencoder")


def load_judge(file: str | Path) -> Judge:
    """The judge of a weight file."""
    config, tensors = read_weights(file, "judge")
    return frozen(lambda: Judge(**config), tensors, file)


def whole_pipeline(path: str | Path, folder: Path) -> str:
    """What to do with a pipeline where a part is asked for."""
    return (
        f'{path} holds a whole pipeline: Pipeline.from_pretrained("{path}") opens it, and '
        f'from_pretrained("{folder / "denoiser.safetensors"}") a part of it.'
    )


def from_pretrained(path: str | Path, label: int | None = None, **asked: Any) -> Denoiser | Part:
    """Any trained part, in eval mode, taking no gradient.

    Arguments:
        path: a folder or file of this project, whatever part it holds; a denoiser of diffusers,
            guided-diffusion, improved-diffusion, DiT, SiT, JiT, EDM, EDM2 or v-diffusion; a folder
            of Stable Diffusion 1, 2 or XL; one of diffusers' autoencoder; a noisy CLIP of the SDG
            authors' code, or either encoder of GLIDE's; or `owner/name`, or `owner/name@revision`,
            of a folder on the Hugging Face hub.
        label, asked: of a denoiser, as of `load_denoiser`: its class; what a state dict of no
            published family cannot tell, such as `qkv="heads_first"`; `prompt` and
            `negative_prompt` of a Stable Diffusion.

    Raises:
        UserError: nothing is there, it is damaged, it is none of these, or a setting given for it
            is not known.
    """
    if str(path) in shipped_names() and on_this_machine(path) is None:
        raise UserError(whole_pipeline(path, Path("weights") / path))
    place = located(path)
    if (place / INDEX).is_file() and header(place) is None:
        raise UserError(whole_pipeline(path, Path(path)))
    for name in asked:
        choice("a setting of a denoiser", name, ("label", *ASKED, *PROMPTS))
    kind = kind_of(place)
    if kind == "denoiser":
        return load_denoiser(place, label, asked)
    options = list(asked) if label is None else ["label", *asked]
    if options:
        raise UserError(
            f"{path} holds a {kind}; {', '.join(options)} can be said of a denoiser alone."
        )
    loaders: dict[str, Callable[[Path], Part]] = {
        "autoencoder": load_autoencoder,
        "clip": load_clip,
        "clip_noisy": load_clip_noisy,
        "clip_text": load_clip_text,
        "classifier_noisy": load_classifier,
        "judge": load_judge,
    }
    return loaders[choice(f"the kind of weights in {place}", kind, ("denoiser", *loaders))](place)
