"""State dicts of EDM2's networks."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sdg.io.denoiser_file import DenoiserFile
from sdg.io.edm_file import edm_settings, sides_of
from sdg.io.state_dict import StateDict

__all__ = ["from_edm2", "is_edm2"]

EDM2 = "EDM2, arXiv 2312.02696"
# Of the latents of its models at 512 pixels: the mean and the deviation of each channel that the
# encoder of sd-vae-ft-mse gives, and the deviation that they are brought to, as its code has them.
LATENT_MEAN, LATENT_STD = (5.81, 3.25, 0.12, -2.15), (4.17, 4.62, 3.71, 3.28)
FINAL_STD = 0.5
UNUSED = "logvar_"  # how training weighs the levels
KEPT = ("emb_fourier.freqs", "emb_fourier.phases")  # what is no weight


def is_edm2(names) -> bool:
    """Whether a state dict has such names."""
    return bool({"unet.emb_fourier.freqs", "emb_fourier.freqs"} & set(names))


def from_edm2(tensors: Mapping[str, Tensor], given: Mapping, path: str) -> DenoiserFile:
    """The denoiser of an EDM2 network.

    The weights are normalised here, once, and take their gains with them.

    Arguments:
        tensors: of the file, under its own names.
        given: nothing is asked of such a file.
        path: of the file, for messages.

    Raises:
        UserError: a tensor is missing, or the sizes do not fit together.
    """
    inner = {name.removeprefix("unet."): value for name, value in tensors.items()}
    file = StateDict(
        {name: value for name, value in inner.items() if not name.startswith(UNUSED)},
        given,
        path,
        "an EDM2 U-Net",
    )
    sides = sides_of(file)
    network = network_of(file, sides)
    channels = network["channels"]
    file.settle("classes", network["classes"] or "unconditional", "the file")
    file.settle("channels", channels, "the file")
    denoiser = {**edm_settings(file, EDM2), "architecture": "edm2", "network": network}
    if channels == len(LATENT_MEAN):
        scale = [FINAL_STD / deviation for deviation in LATENT_STD]
        denoiser["latent_affine"] = [list(LATENT_MEAN), scale]
        file.settle("latents", "of sd-vae-ft-mse, each channel to a deviation of 0.5", EDM2)
    return DenoiserFile(
        path,
        {"denoiser": denoiser, "schedule": {"kind": "edm", "T": 1000}, "resolution": sides[0]},
        {f"network.{name}": value for name, value in with_gains(file).items()},
        f"an EDM2 U-Net of {'pixels' if channels == 3 else 'latents'}, {network['widths']} "
        f"channels, {network['blocks']} blocks a level",
        file.sources,
    )


def network_of(file: StateDict, sides: list[int]) -> dict:
    """`EDM2UNet`'s arguments."""
    top = f"{sides[0]}x{sides[0]}"
    embedding, noise = file.shape("emb_noise.weight", 2)
    classes = 0
    if "emb_label.weight" in file.tensors:
        classes = file.shape("emb_label.weight", 2)[1]
    blocks = 0
    while f"enc.{top}_block{blocks}.conv_res1.weight" in file.tensors:
        blocks += 1
    return {
        "channels": file.shape(f"enc.{top}_conv.weight", 4)[1] - 1,  # the other one holds ones
        "widths": [
            file.shape(f"enc.{side}x{side}_block0.conv_res1.weight", 4)[0] for side in sides
        ],
        "blocks": blocks,
        "attention": [
            side for side in sides if f"enc.{side}x{side}_block0.attn_qkv.weight" in file.tensors
        ],
        "noise": noise,
        "embedding": embedding,
        "classes": classes,
    }


def with_gains(file: StateDict) -> dict[str, Tensor]:
    """The tensors of `EDM2UNet`: weights w g/(10⁻⁴ √n + ‖w‖) of rows w of n numbers, eq. 47.

    g is a gain where there is one. An embedding of classes is √classes times its column.
    """
    normalised = {}
    for name, value in file.tensors.items():
        if name.endswith("_gain"):
            continue
        value = value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
        if name not in KEPT and value.ndim > 1:
            rows = value.flatten(1)
            length = torch.linalg.vector_norm(rows, dim=1) + 1e-4 * math.sqrt(rows.shape[1])
            value = value / length.view(-1, *[1] * (value.ndim - 1))
        gain = gain_of(name)
        if gain is not None:
            file.shape(gain, 0)
            value = value * file.tensors[gain].to(value.dtype)
        if name == "emb_label.weight":
            value = value.T.contiguous() * math.sqrt(value.shape[1])
        normalised[name] = value
    return normalised


def gain_of(name: str) -> str | None:
    """The gain that a weight takes with it."""
    if name == "out_conv.weight":
        return "out_gain"
    block = name.removesuffix(".emb_linear.weight")
    return f"{block}.emb_gain" if block != name else None
