"""A denoiser's folder as diffusers writes it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdg.errors import UserError
from sdg.io.denoiser_file import DenoiserFile
from sdg.io.diffusers_autoencoder import autoencoder_folder, latents_digest
from sdg.io.diffusers_network import loaded_network, network_options
from sdg.io.diffusers_scheduler import Process, process_of
from sdg.io.hub import INDEX as MODEL_INDEX
from sdg.io.json_config import json_config
from sdg.io.weights import header

__all__ = ["MODEL_INDEX", "from_diffusers", "part_file"]

TRANSFORMER = "DiTTransformer2DModel"
NETWORKS = ("UNet2DModel", TRANSFORMER)


def from_diffusers(folder: Path) -> DenoiserFile:
    """A folder with a network and a scheduler's config, as diffusers writes it.

    The network is a `UNet2DModel` or a `DiTTransformer2DModel`. They lie beside each other or in
    folders of their own. Where an autoencoder lies there too, the network's images are latents.
    """
    transformer = (folder / "transformer" / "config.json").is_file()
    model = part_file(folder, "transformer" if transformer else "unet", "config.json")
    config = json_config(model)
    scheduler = json_config(part_file(folder, "scheduler", "scheduler_config.json"))
    beside = autoencoder_folder(folder)
    kind, size, channels = network_sizes(config, model, beside is not None)
    process = process_of(scheduler, folder)
    settings = dict(process.options)
    by_config: dict[str, object] = {"resolution": size}
    if kind == TRANSFORMER:
        settings["variance"] = transformer_variance(config, channels, model)
        by_config["variance"] = settings["variance"]
    else:
        check_network(config, channels, settings["variance"], scheduler, model)
    if beside is not None:
        by_config |= {"channels": channels, "latents": True}
    network = loaded_network(model, kind)
    denoiser = {**settings, **network_settings(network, kind, channels, beside)}
    prefix = "network.network." if kind == TRANSFORMER else "network."
    return DenoiserFile(
        str(folder),
        {"denoiser": denoiser, "schedule": process.schedule.config, "resolution": size},
        {f"{prefix}{name}": value for name, value in network.state_dict().items()},
        f"a diffusers {kind}",
        sources_of(by_config, process),
    )


def network_sizes(config: Mapping, model: Path, latents: bool) -> tuple[str, int, int]:
    """(class, side, channels) of the network that a config describes.

    Arguments:
        latents: whether an autoencoder lies beside it.

    Raises:
        UserError: it is of another class, or of other images.
    """
    kind, size = str(config.get("_class_name")), config.get("sample_size")
    channels = config.get("in_channels", 3)
    known = kind in NETWORKS and (latents or channels == 3)
    if not known or not isinstance(size, int) or not isinstance(channels, int):
        raise UserError(
            f"{model} describes a {config.get('_class_name')} for {config.get('in_channels')} "
            f"channels and the size {size}; a UNet2DModel or a DiTTransformer2DModel of square RGB "
            "images is needed, or of latents with their autoencoder beside it."
        )
    return kind, size, channels


def network_settings(
    network: Any, kind: str, channels: int, autoencoder: Path | None
) -> dict[str, Any]:
    """What of a denoiser's config rebuilds this network of diffusers.

    Arguments:
        kind: its class.
        autoencoder: the folder of that whose latents it draws; None where it draws images.
    """
    arguments = network_options(network)
    del arguments["sample_size"], arguments["in_channels"]
    settings: dict[str, Any] = {}
    if kind == TRANSFORMER:
        settings |= {"architecture": "dit_diffusers", "network": arguments | {"channels": channels}}
    else:
        del arguments["out_channels"]
        settings["network"] = arguments
    if autoencoder is not None:
        settings |= {"latents": True, "autoencoder_digest": latents_digest(autoencoder)}
        if kind != TRANSFORMER:
            settings["channels"] = channels
    return settings


def sources_of(by_config: Mapping[str, object], process: Process) -> dict[str, tuple[object, str]]:
    """{setting: (value, the file that says so)}.

    Arguments:
        by_config: what the network's config says; the scheduler's says the rest.
    """
    schedule = process.schedule
    settings = {"clip": process.options["clip"], "schedule": schedule.kind, "T": schedule.T}
    sources = {name: (value, "config.json") for name, value in by_config.items()}
    for name, value in (settings | process.options).items():
        sources.setdefault(name, (value, "scheduler_config.json"))
    return sources


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
