"""From a weight file, or a name, to a model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import open_clip
import timm
from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.errors import UserError, choice, integer
from sdg.io.diffusers_autoencoder import (
    AUTOENCODER_NETWORKS,
    autoencoder_folder,
    is_autoencoder,
)
from sdg.io.diffusers_network import network_file
from sdg.io.hub import located
from sdg.io.noisy_clips import foreign_part, read_part
from sdg.io.pretrained import ASKED, PROMPTS, DenoiserFile, is_foreign, open_denoiser
from sdg.io.shipped import INDEX, on_this_machine, shipped_names
from sdg.io.text_folder import is_text_folder
from sdg.io.weights import header, read_weights
from sdg.models.autoencoder import Autoencoder, build_autoencoder
from sdg.models.build import build_denoiser, build_noisy_encoder, frozen
from sdg.models.class_labels import class_count
from sdg.models.classifier import NoisyClassifier
from sdg.models.clip import CLIP
from sdg.models.encoder import Encoders, TextEncoder
from sdg.models.glide import GlideImageEncoder, GlideTextEncoder
from sdg.models.judge import Judge
from sdg.models.kin import check_kin
from sdg.models.noisy import NoisyEncoder
from sdg.models.published_clips import clip_by_name
from sdg.models.text_unet import PROMPT, TextUNet

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


def denoiser_from(file: DenoiserFile) -> Denoiser:
    """A denoiser as some file has it, in eval mode, taking no gradient."""
    return frozen(lambda: build_denoiser(**file.config), file.tensors, file.path)


def load_denoiser(
    path: str | Path,
    label: int | None = None,
    asked: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Denoiser:
    """The denoiser of a weight file, of this project or another.

    Arguments:
        path, asked: as of `open_denoiser`.
        label: the class, of a class-conditional one. A network of text has its prompt instead.
        tell: is given a line for each setting: its value and where that comes from.

    Raises:
        UserError: it cannot be opened, or its class is missing, or there are none, or not so many.
    """
    file = open_denoiser(path, asked)
    for name, (value, source) in file.sources.items():
        tell(f"denoiser: {name} = {value}   [{source}]")
    denoiser = denoiser_from(file)
    if isinstance(denoiser.network, TextUNet):
        if label is not None:
            raise UserError(
                f"label={label}: {path} is conditioned on a prompt, and has no classes.", "label"
            )
        denoiser.label = PROMPT
        return denoiser
    if classes := class_count(denoiser.network):
        denoiser.label = integer("label", label, 0, classes - 1)
    elif label is not None:
        raise UserError(
            f"label={label}: {path} holds an unconditional denoiser, without classes.", "label"
        )
    return denoiser


def load_weaker(path: str | Path, label: int | None, asked: Mapping[str, Any]) -> Denoiser:
    """The denoiser of a weight file that another one is guided away from.

    Arguments:
        path: as of `open_denoiser`.
        label: of the guided denoiser; a weaker one without classes does without it.
        asked: of the guided one's file, for a file that does not hold all settings either; and its
            prompts, for another network of text.

    Raises:
        UserError: it cannot be opened, or has no such class.
    """
    own = ASKED if is_foreign(path) else PROMPTS if is_text_folder(located(path)) else ()
    denoiser = denoiser_from(open_denoiser(path, {n: v for n, v in asked.items() if n in own}))
    if isinstance(denoiser.network, TextUNet):
        denoiser.label = PROMPT
        return denoiser
    if classes := class_count(denoiser.network):
        if label is None or label >= classes:
            raise UserError(
                f"autoguidance: {path} has {classes} classes, and the denoiser that it guides has "
                f"label={'null' if label is None else label}; take one of the same classes.",
                "autoguidance",
            )
        denoiser.label = label
    return denoiser


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


def kind_of(place: Path) -> str:
    """The kind of weights of a file or folder; "denoiser" of what has no header and no other."""
    if part := foreign_part(place):
        return part.kind
    if own := header(place):
        return str(own["kind"])
    return "autoencoder" if is_autoencoder(place) else "denoiser"


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
    if header(place) is None and (place / "config.json").is_file():
        return network_file(place, AUTOENCODER_NETWORKS)
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
