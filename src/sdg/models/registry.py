"""From a plain config, or a weight file, to a model.

Configs name sizes and kinds, never classes, so a file cannot choose code to run.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import open_clip
import timm
import torch
from diffusers.models import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from safetensors import safe_open
from torch import Tensor, nn

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, choice, integer
from sdg.io.hub import located
from sdg.io.pretrained import ASKED, DenoiserFile, open_denoiser, tensors_of
from sdg.io.sdg_code import from_sdg_code, is_sdg_code
from sdg.io.weights import header, read
from sdg.models.classifier import NoisyClassifier
from sdg.models.clip import CLIP
from sdg.models.encoder import Encoders
from sdg.models.judge import Judge
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.noisy import NoisyEncoder
from sdg.models.published import clip_by_name
from sdg.models.towers import image_tower
from sdg.models.unet import UNetEncoder

__all__ = [
    "build_denoiser",
    "chosen_clip",
    "classifier_encoders",
    "clean_encoders",
    "denoiser_of",
    "fill",
    "from_pretrained",
    "is_noisy_clip",
    "load_classifier",
    "load_clip",
    "load_clip_noisy",
    "load_denoiser",
    "load_judge",
    "noise_aware_encoders",
    "pair",
]

Model = TypeVar("Model", bound=nn.Module)


def build_denoiser(denoiser: dict[str, Any], schedule: dict[str, Any], resolution: int) -> Denoiser:
    """A UNet2DModel of diffusers and a schedule, as `conf/denoiser` and `conf/schedule` say."""
    options = {
        key: value for key, value in denoiser.items() if key not in ("network", "heads", "sinusoid")
    }
    patch, network = options.get("patch", 1), denoiser["network"]
    halvings = len(network["block_out_channels"]) - 1
    if resolution % (patch * 2**halvings):
        raise UserError(
            f"data.resolution={resolution} must be a multiple of {patch * 2**halvings}: the "
            f"network halves it {halvings} times after patches of {patch}."
        )
    channels = 3 * patch**2
    outputs = channels * (2 if options.get("variance") == "learned_range" else 1)
    unet = UNet2DModel(
        sample_size=resolution // patch, in_channels=channels, out_channels=outputs, **network
    )
    if denoiser.get("sinusoid"):
        embed_time(unet, denoiser["sinusoid"])
    if denoiser.get("heads"):
        set_heads(unet, denoiser["heads"])
    process = Schedule(**schedule)
    config = {"denoiser": denoiser, "schedule": process.config, "resolution": resolution}
    return Denoiser(unet, process, **options, resolution=resolution, config=config)


def embed_time(unet: UNet2DModel, width: int) -> None:
    """Makes the sinusoid of t this wide.

    Diffusers' arguments make it as wide as the first level.
    """
    config: Any = unet.config  # a dictionary whose keys are attributes too
    sinusoid = Timesteps(width, config.flip_sin_to_cos, config.freq_shift)
    unet.time_proj = sinusoid  # type: ignore[assignment]  # diffusers types one kind of three
    unet.time_embedding = TimestepEmbedding(width, unet.time_embedding.linear_1.out_features)


def set_heads(unet: UNet2DModel, heads: int) -> None:
    """Gives every attention this many heads, whatever its width.

    Diffusers' arguments fix their width instead.
    """
    for module in unet.modules():
        if isinstance(module, Attention):
            if module.inner_dim % heads:
                raise UserError(
                    f"{heads} attention heads do not divide {module.inner_dim} channels."
                )
            module.heads, module.sliceable_head_dim, module.scale = (
                heads,
                heads,
                (module.inner_dim // heads) ** -0.5,
            )


def denoiser_of(found: DenoiserFile) -> Denoiser:
    """A denoiser as some file has it, in eval mode, taking no gradient."""
    return frozen(lambda: build_denoiser(**found.config), found.tensors, found.path)


def load_denoiser(
    path: str | Path,
    label: int | None = None,
    asked: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Denoiser:
    """The denoiser of a weight file, of this project or another.

    Arguments:
        path, asked: as of `open_denoiser`.
        label: the class, of a class-conditional one.
        tell: is told, a line each, what was settled and who says so.

    Raises:
        UserError: it cannot be opened, or its class is missing, or there are none, or not so many.
    """
    found = open_denoiser(path, asked)
    for name, (value, source) in found.sources.items():
        tell(f"denoiser: {name} = {value}   [{source}]")
    denoiser = denoiser_of(found)
    network: Any = denoiser.network  # a UNet2DModel
    if classes := network.config.num_class_embeds:
        denoiser.label = integer("denoiser.label", label, 0, classes - 1)
    elif label is not None:
        raise UserError(
            f"denoiser.label={label}: {path} holds an unconditional denoiser, without classes."
        )
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
    if (
        colon
        and not Path(file).exists()
        and (name in open_clip.list_models() or timm.is_model(name))
    ):
        return clip_by_name(name, pretrained)
    config, tensors = read(file, "clip")
    return frozen(lambda: CLIP(**config), tensors, file)


def load_clip_noisy(file: str | Path) -> NoisyEncoder:
    """The noise-aware image encoder of a weight file, or of a noisy CLIP of SDG's authors' code."""
    place = located(file)
    config, tensors = (
        from_sdg_code(tensors_of(place)) if is_noisy_clip(place) else read(place, "clip_noisy")
    )
    return frozen(lambda: noisy_encoder(config), tensors, file)


def noisy_encoder(config: dict[str, Any]) -> NoisyEncoder:
    """The encoder of a config.

    With `network` it is a denoiser's contracting half, else a CLIP's tower.
    """
    if "network" in config:
        return UNetEncoder(**config)
    return NoiseAwareEncoder(image_tower(config["clip"]["model"]), **config)


def pair(image: NoisyEncoder, clip: CLIP) -> tuple[NoisyEncoder, CLIP]:
    """A noise-aware encoder and the clean CLIP that it was made from.

    Raises:
        UserError: it was made from another one.
    """

    def towers(model: Mapping[str, Any]) -> dict[str, Any]:
        text = model["text_cfg"] and {
            key: value
            for key, value in model["text_cfg"].items()
            if key in ("width", "layers", "vocab_size")
        }
        return {
            "embed_dim": model["embed_dim"],
            "text": text,
            "vision": {
                key: value
                for key, value in model["vision_cfg"].items()
                if key in ("layers", "width", "patch_size", "timm_model_name")
            },
        }

    ours, theirs = towers(image.config["clip"]["model"]), towers(clip.config["model"])
    if ours != theirs:
        raise UserError(
            f"the noise-aware encoder was made from another CLIP ({ours}) than the clean one "
            f"beside it ({theirs}); set encoder.clip or encoder.name and encoder.pretrained to its "
            "own."
        )
    return image, clip


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
    chosen = {"clip": clip, "name": name, "pretrained": pretrained}
    return Encoders(*pair(image, chosen_clip(chosen)))


def clean_encoders(clip: str, name: str | None = None, pretrained: str | None = None) -> Encoders:
    """Both towers of a clean CLIP, as of `chosen_clip`."""
    both = chosen_clip({"clip": clip, "name": name, "pretrained": pretrained})
    return Encoders(both, both)


def classifier_encoders(weights: str, **teacher: Any) -> Encoders:
    """A noise-aware classifier; the CLIP that it was made from serves its training alone."""
    return Encoders(load_classifier(weights))


def is_noisy_clip(path: Path) -> bool:
    """Whether a file holds a noisy CLIP of the SDG authors' code."""
    if not path.is_file() or header(path) is not None:
        return False
    if path.suffix != ".safetensors":
        return is_sdg_code(tensors_of(path))
    with safe_open(str(path), "pt") as file:
        return is_sdg_code(file.keys())


def load_classifier(file: str | Path) -> NoisyClassifier:
    """The noise-aware classifier of a weight file."""
    config, tensors = read(file, "classifier_noisy")
    return frozen(lambda: NoisyClassifier(**config), tensors, file)


def load_judge(file: str | Path) -> Judge:
    """The judge of a weight file."""
    config, tensors = read(file, "judge")
    return frozen(lambda: Judge(**config), tensors, file)


def from_pretrained(
    path: str | Path, label: int | None = None, **asked: Any
) -> Denoiser | CLIP | NoisyEncoder | NoisyClassifier | Judge:
    """Any trained part, in eval mode, taking no gradient.

    Arguments:
        path: a folder or file of this project, whatever part it holds; a denoiser of diffusers,
            guided-diffusion or improved-diffusion, or a noisy CLIP of the SDG authors' code; or
            `owner/name`, or `owner/name@revision`, of a folder on the Hugging Face hub.
        label, asked: of a denoiser, as of `load_denoiser`: its class; what an ADM file of no
            published family cannot tell, such as `qkv="heads_first"`.

    Raises:
        UserError: nothing is there, it is damaged, it is none of these, or what was said of it is
            not known.
    """
    place = located(path)
    for name in asked:
        choice("a setting of a denoiser", name, ("label", *ASKED))
    kind = "clip_noisy" if is_noisy_clip(place) else (header(place) or {"kind": "denoiser"})["kind"]
    if kind == "denoiser":
        return load_denoiser(place, label, asked)
    if label is not None or asked:
        raise UserError(
            f"{path} holds a {kind}; "
            f"{', '.join(('label', *asked) if label is not None else asked)} can be said of a "
            "denoiser alone."
        )
    loaders: dict[str, Callable[[Path], CLIP | NoisyEncoder | NoisyClassifier | Judge]] = {
        "clip": load_clip,
        "clip_noisy": load_clip_noisy,
        "classifier_noisy": load_classifier,
        "judge": load_judge,
    }
    return loaders[choice(f"the kind of weights in {place}", kind, ("denoiser", *loaders))](place)


def fill(model: Model, tensors: Mapping[str, Tensor], file: str | Path) -> Model:
    """The model with the file's weights."""
    ours = model.state_dict()
    wrong = [
        name
        for name in ours.keys() | tensors.keys()
        if name not in ours or name not in tensors or ours[name].shape != tensors[name].shape
    ]
    if wrong:
        name = min(wrong)
        theirs, here = (
            f"of shape {tuple(found[name].shape)}" if name in found else "missing"
            for found in (tensors, ours)
        )
        raise UserError(
            f"the weights {file} do not fit this model: {len(wrong)} tensors differ, such as "
            f"{name}, {theirs} there and {here} here."
        )
    model.load_state_dict(tensors)
    return model


def frozen(build: Callable[[], Model], tensors: Mapping[str, Tensor], file: str | Path) -> Model:
    """The model that a file's config builds, with the file's weights.

    It is in eval mode and takes no gradient.
    """
    try:
        model = build()
    except UserError:
        raise
    except Exception as error:  # of the libraries' constructors, which take much for granted
        raise UserError(
            f"the config of {file} builds no model ({type(error).__name__}: {error}); it is "
            "damaged, or of another version."
        ) from error
    return (
        fill(model, tensors, file)
        .to(memory_format=torch.channels_last)
        .eval()
        .requires_grad_(False)
    )
