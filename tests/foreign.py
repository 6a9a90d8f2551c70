"""What tests of other people's state dicts share."""

import math

import torch

from sdg.io.pretrained import from_state_dict
from sdg.models.build import build_denoiser


def random_tensors(shapes: dict, seed: int = 0, dtype=torch.float64) -> dict[str, torch.Tensor]:
    """Values of the size that a trained network has, none of them zero."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        draw = torch.randn(shape, generator=generator, dtype=torch.float64)
        centre = 1 if "norm" in name and name.endswith("weight") else 0
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 25
        tensors[name] = (centre + draw / fan_in**0.5).to(dtype)
    return tensors


def denoiser_of(tensors: dict, **given):
    """The denoiser of a state dict, in float64."""
    file = from_state_dict(tensors, given, "x.safetensors")
    model = build_denoiser(**file.config).double()
    model.load_state_dict({name: value.double() for name, value in file.tensors.items()})
    return model.eval().requires_grad_(False)


def on_meta(shapes: dict, **given):
    """(file, the built denoiser) of full size, without memory."""
    with torch.device("meta"):
        file = from_state_dict(
            {name: torch.empty(shape) for name, shape in shapes.items()}, given, "x.safetensors"
        )
        return file, build_denoiser(**file.config)


def same_tensors(file, model) -> bool:
    """Whether a file's tensors are those of the model, each of its shape."""
    own = {name: value.shape for name, value in model.state_dict().items()}
    return own == {name: value.shape for name, value in file.tensors.items()}


def relative(found, expected) -> float:
    return ((found - expected).norm() / expected.norm()).item()
