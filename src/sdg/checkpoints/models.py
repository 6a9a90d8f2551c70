"""From a plain config, or a weight file, to a model. Configs name sizes and kinds, never classes, so a file cannot choose code to run."""

from pathlib import Path

import torch
from diffusers import UNet2DModel
from torch import nn

from sdg.checkpoints.weights import read
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.schedule import Schedule
from sdg.encoders.classifier import NoisyClassifier
from sdg.encoders.clip import CLIP
from sdg.encoders.noise_aware import NoiseAwareEncoder
from sdg.errors import UserError
from sdg.metrics.judge import Judge

__all__ = ["build_denoiser", "fill", "load_classifier", "load_clip", "load_clip_noisy", "load_denoiser", "load_judge"]


def build_denoiser(denoiser: dict, schedule: dict, resolution: int) -> Denoiser:
    """A diffusers UNet2DModel and a schedule as `conf/denoiser` and `conf/schedule` describe them."""
    options = {key: value for key, value in denoiser.items() if key != "network"}
    patch, network = options.get("patch", 1), denoiser["network"]
    halvings = len(network["block_out_channels"]) - 1
    if resolution % (patch * 2**halvings):
        raise UserError(f"data.resolution={resolution} must be a multiple of {patch * 2**halvings}: the network halves it {halvings} times after patches of {patch}.")
    channels = 3 * patch**2
    outputs = channels * (2 if options.get("variance") == "learned_range" else 1)
    unet = UNet2DModel(sample_size=resolution // patch, in_channels=channels, out_channels=outputs, **network)
    model = Denoiser(unet, Schedule(**schedule), **options)
    model.config = {"denoiser": denoiser, "schedule": model.schedule.config, "resolution": resolution}
    return model


def load_denoiser(file: str | Path) -> Denoiser:
    """The denoiser of a weight file."""
    config, tensors = read(file, "denoiser")
    return frozen(build_denoiser(**config), tensors, file)


def load_clip(file: str | Path) -> CLIP:
    """The clean CLIP of a weight file, both towers."""
    config, tensors = read(file, "clip")
    return frozen(CLIP(**config), tensors, file)


def load_clip_noisy(file: str | Path) -> NoiseAwareEncoder:
    """The noise-aware image encoder of a weight file."""
    config, tensors = read(file, "clip_noisy")
    tower = CLIP(**config["clip"]).tower
    return frozen(NoiseAwareEncoder(tower, **config), tensors, file)


def load_classifier(file: str | Path) -> NoisyClassifier:
    """The noise-aware classifier of a weight file."""
    config, tensors = read(file, "classifier_noisy")
    return frozen(NoisyClassifier(**config), tensors, file)


def load_judge(file: str | Path) -> Judge:
    """The judge of a weight file."""
    config, tensors = read(file, "judge")
    return frozen(Judge(**config), tensors, file)


def fill(model: nn.Module, tensors: dict, file: str | Path) -> nn.Module:
    """The model with the file's weights."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"the weights {file} do not fit this model: {str(error).splitlines()[-1].strip()}") from error
    return model


def frozen(model: nn.Module, tensors: dict, file: str | Path) -> nn.Module:
    """The model with the file's weights, in eval mode, taking no gradient."""
    return fill(model, tensors, file).to(memory_format=torch.channels_last).eval().requires_grad_(False)
