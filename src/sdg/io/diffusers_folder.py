"""A denoiser's folder as diffusers writes it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sdg.errors import UserError, first_line
from sdg.io.denoiser_file import DenoiserFile
from sdg.io.diffusers_scheduler import process_of
from sdg.io.hub import INDEX as MODEL_INDEX
from sdg.io.json_config import json_config
from sdg.io.weights import header

__all__ = [
    "AUTOENCODER_NETWORKS",
    "MODEL_INDEX",
    "autoencoder_folder",
    "from_diffusers",
    "is_autoencoder",
    "network_file",
    "network_options",
    "part_file",
]

NETWORKS = ("UNet2DModel", "DiTTransformer2DModel")
AUTOENCODER_NETWORKS = ("AutoencoderKL", "AutoencoderTiny", "VQModel")
AUTOENCODERS = ("vae", "vqvae")  # the folders that diffusers' pipelines keep them in


def from_diffusers(folder: Path) -> DenoiserFile:
    """A folder with a network and a scheduler's config, as diffusers writes it.

    The network is a `UNet2DModel` or a `DiTTransformer2DModel`. They lie beside each other or in
    folders of their own. Where an autoencoder lies there too, the network's images are latents.
    """
    transformer = (folder / "transformer" / "config.json").is_file()
    model = part_file(folder, "transformer" if transformer else "unet", "config.json")
    config = json_config(model)
    options = json_config(part_file(folder, "scheduler", "scheduler_config.json"))
    latents = autoencoder_folder(folder) is not None
    size, channels = config.get("sample_size"), config.get("in_channels", 3)
    kind = str(config.get("_class_name"))
    if kind not in NETWORKS or not (latents or channels == 3) or not isinstance(size, int):
        raise UserError(
            f"{model} describes a {config.get('_class_name')} for {config.get('in_channels')} "
            f"channels and the size {size}; a UNet2DModel or a DiTTransformer2DModel of square RGB "
            "images is needed, or of latents with their autoencoder beside it."
        )
    process = process_of(options, folder)
    denoiser, by_config = dict(process.options), {"resolution": size}
    if kind == "DiTTransformer2DModel":
        denoiser["variance"] = transformer_variance(config, channels, model)
        by_config["variance"] = denoiser["variance"]
    else:
        check_network(config, channels, denoiser["variance"], options, model)
    if latents:
        denoiser["latents"] = True
        by_config |= {"channels": channels, "latents": True}
    network = loaded_network(model, kind)
    arguments = network_options(network)
    del arguments["sample_size"], arguments["in_channels"]
    prefix = "network."
    if kind == "DiTTransformer2DModel":
        denoiser |= {"architecture": "dit_diffusers", "network": arguments | {"channels": channels}}
        prefix = "network.network."
    else:
        del arguments["out_channels"]
        denoiser["network"] = arguments
        if latents:
            denoiser["channels"] = channels
    sources: dict[str, tuple[object, str]] = {}
    for name, value in by_config.items():
        sources[name] = (value, "config.json")
    schedule = process.schedule
    settings = {"clip": denoiser["clip"], "schedule": schedule.kind, "T": schedule.T}
    for name, value in (settings | process.options).items():
        sources.setdefault(name, (value, "scheduler_config.json"))
    return DenoiserFile(
        str(folder),
        {"denoiser": denoiser, "schedule": schedule.config, "resolution": size},
        {f"{prefix}{name}": value for name, value in network.state_dict().items()},
        f"a diffusers {kind}",
        sources,
    )


def transformer_variance(config: Mapping, channels: int, model: Path) -> str:
    """Which Σ a `DiTTransformer2DModel` has: with twice as many outputs it has learned it.

    That is so whatever its scheduler says: diffusers' pipeline leaves that half out.

    Raises:
        UserError: it has another number of outputs, or no classes.
    """
    outputs = config.get("out_channels") or channels
    if outputs not in (channels, 2 * channels) or not config.get("num_embeds_ada_norm", 1000):
        raise UserError(
            f"{model}: a transformer with out_channels={outputs} and "
            f"num_embeds_ada_norm={config.get('num_embeds_ada_norm')} is not known here."
        )
    return "learned_range" if outputs == 2 * channels else "fixed_small"


def check_network(
    config: Mapping, channels: int, variance: str, options: Mapping, model: Path
) -> None:
    """Checks that a U-Net's config is one of those that are rebuilt here.

    Raises:
        UserError: it has an embedding that is not known, or channels that do not suit its Σ.
    """
    for key, known in {
        "time_embedding_type": ("positional", "learned"),
        "class_embed_type": (None,),
        "out_channels": (2 * channels if variance == "learned_range" else channels,),
    }.items():
        if config.get(key, known[0]) not in known:
            raise UserError(
                f"{model}: a network with {key}={config[key]} and a scheduler with "
                f"variance_type={options.get('variance_type', 'fixed_small')} is not known here."
            )


def network_options(network: Any) -> dict[str, Any]:
    """The arguments that rebuild a network of diffusers, as plain JSON."""
    arguments = {}
    for key, value in network.config.items():
        if not key.startswith("_"):
            arguments[key] = list(value) if isinstance(value, tuple) else value
    return arguments


def loaded_network(model: Path, kind: str) -> Any:
    """The network whose config this is, with the weights beside it.

    Arguments:
        kind: its class in diffusers, one that is known here.

    Raises:
        UserError: the weights cannot be read, or are not those of the network.
    """
    import diffusers

    try:
        network, report = getattr(diffusers, kind).from_pretrained(
            model.parent, local_files_only=True, output_loading_info=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"the weights beside {model} cannot be read ({first_line(error)})."
        ) from error
    wrong = [*report["missing_keys"], *report["unexpected_keys"]]
    wrong += [str(name) for name in report["mismatched_keys"]]
    if wrong:
        raise UserError(
            f"the weights beside {model} are not those of its network: {len(wrong)} tensors are "
            f"missing, left over or of another shape, such as {wrong[0]}."
        )
    return network


def autoencoder_folder(folder: Path) -> Path | None:
    """Where a pipeline's folder keeps the autoencoder; None where it has none."""
    for name in AUTOENCODERS:
        if (folder / name / "config.json").is_file():
            return folder / name
    return None


def is_autoencoder(folder: Path) -> bool:
    """Whether a folder holds an autoencoder alone, as diffusers writes it."""
    model = folder / "config.json"
    return model.is_file() and json_config(model).get("_class_name") in AUTOENCODER_NETWORKS


def network_file(folder: Path, kinds: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config, tensors) of a folder with one network of diffusers.

    Arguments:
        kinds: the classes that it may be of.

    Returns:
        {"network": its class, "options": its arguments}, and the tensors under `network.`.

    Raises:
        UserError: it is of another class, or cannot be read.
    """
    model = folder / "config.json"
    kind = json_config(model).get("_class_name")
    if kind not in kinds:
        raise UserError(f"{model} describes a {kind}; one of {', '.join(kinds)} is needed.")
    network = loaded_network(model, kind)
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    return {"network": kind, "options": network_options(network)}, tensors


def part_file(folder: Path, part: str, name: str) -> Path:
    """A pipeline's file, in the folder itself or in its part's."""
    for place in (folder / part / name, folder / name):
        if place.is_file():
            return place
    hint = f" Did you mean {folder / 'denoiser'}?" if header(folder / "denoiser") else ""
    raise UserError(
        f"the folder {folder} has no {name}, nor {part}/{name}: a network and its scheduler, "
        f"as diffusers saves them, are needed.{hint}"
    )
