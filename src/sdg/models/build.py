"""From a plain config, and tensors, to a model.

Configs name sizes and kinds, never classes, so a file cannot choose code to run.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError, choice, first_line
from sdg.io.tensors import not_finite
from sdg.models.diffusers_dit import DiffusersDiT
from sdg.models.dit import DiT
from sdg.models.edm2_unet import EDM2UNet
from sdg.models.edm_unet import EDMUNet
from sdg.models.glide import GlideImageEncoder
from sdg.models.jit import JiT
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.noisy import NoisyEncoder
from sdg.models.text_unet import TextUNet
from sdg.models.towers import image_tower
from sdg.models.unet import UNetEncoder
from sdg.models.v_diffusion_unet import VDiffusionUNet

__all__ = [
    "ARCHITECTURES",
    "build_denoiser",
    "build_noisy_encoder",
    "check_finite",
    "fill",
    "frozen",
]

Model = TypeVar("Model", bound=nn.Module)


# Networks of this project, by the name that a denoiser's config calls them.
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "dit": DiT,
    "dit_diffusers": DiffusersDiT,
    "edm": EDMUNet,
    "edm2": EDM2UNet,
    "jit": JiT,
    "text_unet": TextUNet,
    "v_diffusion": VDiffusionUNet,
}


def build_denoiser(denoiser: dict[str, Any], schedule: dict[str, Any], resolution: int) -> Denoiser:
    """A network and a schedule, as `conf/denoiser` and `conf/schedule` say.

    The network is a UNet2DModel of diffusers, or what `architecture` names.
    """
    of_network = ("architecture", "network", "heads", "heads_upsample", "sinusoid")
    options = {key: value for key, value in denoiser.items() if key not in of_network}
    network: nn.Module
    if "architecture" in denoiser:
        name = choice("denoiser.architecture", denoiser["architecture"], ARCHITECTURES)
        network = ARCHITECTURES[name](resolution=resolution, **denoiser["network"])
        options["channels"] = denoiser["network"]["channels"]
    else:
        network = build_unet(denoiser, resolution)
    process = Schedule(**schedule)
    config = {"denoiser": denoiser, "schedule": process.config, "resolution": resolution}
    return Denoiser(network, process, **options, resolution=resolution, config=config)


def build_unet(denoiser: dict[str, Any], resolution: int) -> UNet2DModel:
    """The UNet2DModel of a denoiser's config."""
    patch, network = denoiser.get("patch", 1), denoiser["network"]
    halvings = len(network["block_out_channels"]) - 1
    if resolution % (patch * 2**halvings):
        latents = denoiser.get("latents")
        what = f"{'the side of the latents, ' if latents else 'data.resolution='}{resolution}"
        raise UserError(
            f"{what}{',' if latents else ''} must be a multiple of {patch * 2**halvings}: the "
            f"network halves it {halvings} times after patches of {patch}."
        )
    channels = denoiser.get("channels", 3) * patch**2
    outputs = channels * (2 if denoiser.get("variance") == "learned_range" else 1)
    unet: UNet2DModel = UNet2DModel(
        sample_size=resolution // patch, in_channels=channels, out_channels=outputs, **network
    )
    if denoiser.get("sinusoid"):
        embed_time(unet, denoiser["sinusoid"])
    if denoiser.get("heads"):
        set_heads(unet, denoiser["heads"])
    if denoiser.get("heads_upsample"):
        set_heads(unet.up_blocks, denoiser["heads_upsample"])
    return unet


def embed_time(unet: UNet2DModel, width: int) -> None:
    """Makes the sinusoid of t this wide.

    Diffusers' arguments make it as wide as the first level.
    """
    config: Any = unet.config  # a dictionary whose keys are attributes too
    sinusoid = Timesteps(width, config.flip_sin_to_cos, config.freq_shift)
    unet.time_proj = sinusoid  # type: ignore[assignment]  # diffusers types one kind of three
    unet.time_embedding = TimestepEmbedding(width, unet.time_embedding.linear_1.out_features)


def set_heads(network: nn.Module, heads: int) -> None:
    """Gives every attention in a U-Net, or in a part of one, this many heads, whatever its width.

    Diffusers' arguments fix their width instead.
    """
    for module in network.modules():
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


def build_noisy_encoder(config: dict[str, Any]) -> NoisyEncoder:
    """The encoder of a config.

    With `network` it is a denoiser's contracting half, else a CLIP's tower, of a `family` that
    others trained or modulated by t.
    """
    if "network" in config:
        return UNetEncoder(**config)
    tower = image_tower(config["clip"]["model"])
    if "family" not in config:
        return NoiseAwareEncoder(tower, **config)
    choice("the family of a noise-aware encoder", config["family"], ("glide",))
    return GlideImageEncoder(tower, config["clip"], config["schedule"])


def fill(model: Model, tensors: Mapping[str, Tensor], file: str | Path) -> Model:
    """The model with the file's weights.

    Raises:
        UserError: they are of another model, or no finite numbers.
    """
    own = model.state_dict()
    shapes, own_shapes = tensor_shapes(tensors), tensor_shapes(own)
    names = own.keys() | tensors.keys()
    wrong = [name for name in names if shapes.get(name) != own_shapes.get(name)]
    if wrong:
        name = min(wrong)
        raise UserError(
            f"the weights {file} do not fit this model: {len(wrong)} tensors differ, such as "
            f"{name}, {shape_text(shapes, name)} there and {shape_text(own_shapes, name)} here."
        )
    if any(value.is_meta for value in own.values()):  # it takes the file's tensors, not copies
        tensors = {name: as_float32(value) for name, value in tensors.items()}
        model.load_state_dict(tensors, assign=True)
    else:
        model.load_state_dict(tensors)
    check_finite(model, file)
    return model


def as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def check_finite(model: nn.Module, file: str | Path) -> None:
    """Refuses weights with which nothing that comes out is a number.

    Raises:
        UserError: some are NaN or infinite.
    """
    tensors = model.state_dict()
    if wrong := not_finite(tensors):
        raise UserError(
            f"the weights {file} are damaged: {len(wrong)} of {len(tensors)} tensors, such as "
            f"{wrong[0]}, hold values that are NaN or infinite. Fetch or train them again."
        )


def tensor_shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def shape_text(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return f"of shape {shapes[name]}" if name in shapes else "missing"


def frozen(build: Callable[[], Model], tensors: Mapping[str, Tensor], file: str | Path) -> Model:
    """The model that a file's config builds, with the file's weights.

    It is in eval mode and takes no gradient.
    """
    try:
        model = build()
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except Exception as error:  # of the libraries' constructors, which take much for granted
        raise UserError(
            f"the config of {file} builds no model ({config_fault(error)}); it is damaged, or of "
            "another version."
        ) from error
    return (
        fill(model, tensors, file)
        .to(memory_format=torch.channels_last)
        .eval()
        .requires_grad_(False)
    )


def config_fault(error: Exception) -> str:
    """What is wrong with a config that builds no model, in words where the error names a key."""
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    text = first_line(error)
    if missing := re.search(r"missing \d+ required .*arguments?: (.*)", text):
        return f"it lacks {missing[1]}"
    if unexpected := re.search(r"unexpected keyword argument ('.*?')", text):
        return f"it has {unexpected[1]}, which is not known here"
    return f"{type(error).__name__}: {text}"
