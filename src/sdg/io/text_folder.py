"""The folder of a Stable Diffusion that diffusers wrote: a denoiser of latents and its prompt."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sdg.errors import UserError
from sdg.io.denoiser_file import DenoiserFile, MissingSettings
from sdg.io.diffusers_autoencoder import autoencoder_folder, latents_digest
from sdg.io.diffusers_folder import MODEL_INDEX, part_file
from sdg.io.diffusers_scheduler import process_of
from sdg.io.json_config import json_config, required
from sdg.io.prompt_embeddings import PromptEmbeddings, prompt_embeddings
from sdg.io.tensors import load_tensors
from sdg.io.weights import UNET, header

__all__ = ["PROMPTS", "from_text_folder", "is_text_folder"]

PROMPTS = ("prompt", "negative_prompt")  # what a user says of such a folder
KIND = "UNet2DConditionModel"
# Settings of the network that must be these: others take inputs that are not given here.
KNOWN = {
    "addition_embed_type": (None, "text_time"),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "time_cond_proj_dim": (None,),
    "center_input_sample": (False,),
}
TIME_IDS = 6  # sizes that Stable Diffusion XL is conditioned on
FACTOR = 8  # of the published autoencoders, where none lies in the folder


def is_text_folder(folder: Path) -> bool:
    """Whether a folder of diffusers holds a network that is conditioned on a sentence."""
    if not folder.is_dir() or header(folder) is not None:
        return False
    for file in (folder / "unet" / "config.json", folder / "config.json"):
        if file.is_file():
            return bool(json_config(file).get("_class_name") == KIND)
    return False


def from_text_folder(folder: Path, given: Mapping[str, Any], path: str) -> DenoiserFile:
    """The denoiser of a folder of diffusers' StableDiffusionPipeline or StableDiffusionXLPipeline.

    Arguments:
        given: of `PROMPTS`.
        path: what the user calls it, for messages.

    Raises:
        MissingSettings: no prompt is given.
        UserError: a part is missing, damaged or not known here.
    """
    for name, value in given.items():
        if not isinstance(value, str):
            raise UserError(f"{name} must be a sentence, not {value!r}.", name)
    if "prompt" not in given:
        missing: dict[tuple[str, ...], str] = {("prompt",): "to a sentence"}
        raise MissingSettings(f"{path} draws what a sentence says", f"a diffusers {KIND}", missing)
    model = part_file(folder, "unet", "config.json")
    scheduler = part_file(folder, "scheduler", "scheduler_config.json")
    process = process_of(json_config(scheduler), folder)
    options = network_arguments(json_config(model), model)
    size, channels = options.pop("sample_size"), options.pop("in_channels")
    del options["out_channels"]
    if process.options["variance"] == "learned_range":
        raise UserError(f"{folder}: its scheduler has a learned Σ, and its network gives none.")
    embeddings = prompt_embeddings(
        folder, given["prompt"], given.get("negative_prompt"), zeros_for_no_prompt(folder)
    )
    check_widths(embeddings, options, model)
    network = {
        "channels": channels,
        "tokens": embeddings.tokens.shape[1],
        "factor": factor_of(folder, channels),
        "options": options,
    }
    denoiser = process.options | {"architecture": "text_unet", "latents": True, "network": network}
    autoencoder = autoencoder_folder(folder)
    if autoencoder is not None:
        denoiser["autoencoder_digest"] = latents_digest(autoencoder)
    tensors = {f"network.network.{name}": value for name, value in unet_tensors(model).items()}
    tensors["network.prompts"] = embeddings.tokens
    if embeddings.pooled is not None:
        tensors["network.pooled"] = embeddings.pooled
    sources: dict[str, tuple[object, str]] = {
        name: (value, "its text encoder") for name, value in given.items()
    }
    for name, value in {"resolution": size, "channels": channels, "latents": True}.items():
        sources[name] = (value, "config.json")
    schedule = process.schedule
    for name, value in ({"schedule": schedule.kind, "T": schedule.T} | process.options).items():
        sources[name] = (value, "scheduler_config.json")
    config = {"denoiser": denoiser, "schedule": schedule.config, "resolution": size}
    return DenoiserFile(path, config, tensors, f"a diffusers {KIND}", sources)


def network_arguments(config: dict[str, Any], file: Path) -> dict[str, Any]:
    """The arguments of the network, of a config that is known here.

    Raises:
        UserError: the network reads more than latents and a sentence, or a setting is missing.
    """
    from diffusers import UNet2DConditionModel

    channels = required(config, "in_channels", int, file)
    if config.get("out_channels") != channels:
        raise UserError(
            f"{file}: this network reads {channels} channels and gives "
            f"{config.get('out_channels')}: it is one of inpainting, of depth or of another "
            "picture beside the latents. Take the model that reads a sentence alone."
        )
    for name, known in KNOWN.items():
        if config.get(name, known[0]) not in known:
            raise UserError(
                f"{file}: a network with {name}={config[name]} is not known here, only with "
                f"{' or '.join(map(str, known))}."
            )
    required(config, "sample_size", int, file)
    required(config, "cross_attention_dim", int, file)
    if config.get("addition_embed_type") == "text_time":
        for name in ("addition_time_embed_dim", "projection_class_embeddings_input_dim"):
            required(config, name, int, file)
    options = {name: value for name, value in config.items() if not name.startswith("_")}
    constructor: Any = UNet2DConditionModel.__init__
    unknown = sorted(options.keys() - inspect.signature(constructor).parameters.keys())
    if unknown:
        raise UserError(
            f"{file}: diffusers' {KIND} has no setting {', '.join(unknown)}; is it of a later "
            "version?"
        )
    return options


def check_widths(embeddings: PromptEmbeddings, options: Mapping[str, Any], model: Path) -> None:
    """Checks that the text encoders are those of the network.

    Raises:
        UserError: the network reads other vectors.
    """
    width, read = embeddings.tokens.shape[-1], options["cross_attention_dim"]
    if width != read:
        raise UserError(
            f"{model}: the network reads vectors of {read} channels a token, and the text encoders "
            f"give {width}; take a folder whose parts belong together."
        )
    added = options.get("addition_embed_type") is not None
    if added != (embeddings.pooled is not None):
        raise UserError(
            f"{model}: addition_embed_type={options.get('addition_embed_type')} does not go with "
            f"{'one text encoder' if added else 'two text encoders'}; take a folder whose parts "
            "belong together."
        )
    if embeddings.pooled is not None:
        sizes = TIME_IDS * options["addition_time_embed_dim"]
        needed = sizes + embeddings.pooled.shape[-1]
        if options["projection_class_embeddings_input_dim"] != needed:
            raise UserError(
                f"{model}: the network reads "
                f"{options['projection_class_embeddings_input_dim']} channels of sizes and of the "
                f"sentence, and {needed} are given; a refiner is not known here."
            )


def zeros_for_no_prompt(folder: Path) -> bool:
    """Whether zeros stand for no negative prompt, as a StableDiffusionXLPipeline's index says.

    They do where it does not say, as in diffusers.
    """
    index = folder / MODEL_INDEX
    settings = json_config(index) if index.is_file() else {}
    return bool(settings.get("force_zeros_for_empty_prompt", True))


def factor_of(folder: Path, channels: int) -> int:
    """How much larger images are than latents, by the autoencoder in the folder.

    Raises:
        UserError: the autoencoder is of latents of other channels.
    """
    place = autoencoder_folder(folder)
    if place is None:
        return FACTOR
    file = place / "config.json"
    config = json_config(file)
    latents = required(config, "latent_channels", int, file)
    if latents != channels:
        raise UserError(
            f"{folder}: its network draws latents of {channels} channels, and its autoencoder has "
            f"{latents}."
        )
    names = ("block_out_channels", "encoder_block_out_channels")
    name = names["Tiny" in str(config.get("_class_name"))]
    return int(2 ** (len(required(config, name, list, file)) - 1))


def unet_tensors(model: Path) -> dict[str, Tensor]:
    """The weights of the network, from one safetensors file or from several with an index.

    Arguments:
        model: the config beside them.

    Raises:
        UserError: there are none, or one is damaged.
    """
    whole = model.parent / Path(UNET).name
    index = whole.with_suffix(".safetensors.index.json")
    if whole.is_file():
        header(whole)  # says what is damaged
        return dict(load_tensors(whole))
    if not index.is_file():
        raise UserError(
            f"{model.parent} has no {whole.name}; only safetensors are read of Stable Diffusion. "
            "Fetch them, or let diffusers save the pipeline with safe_serialization=True."
        )
    tensors: dict[str, Tensor] = {}
    names = required(json_config(index), "weight_map", dict, index).values()
    for name in sorted(set(map(str, names))):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(f"{index} names {name}, which is no safetensors file beside it.")
        tensors |= load_tensors(model.parent / name)
    return tensors
