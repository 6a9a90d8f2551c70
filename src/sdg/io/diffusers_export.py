"""A denoiser as a folder that diffusers' `DDPMPipeline.from_pretrained` opens.

Only where that is exact.
"""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from sdg.diffusion.denoiser import Denoiser
from sdg.io.pretrained import PREDICTIONS
from sdg.io.weights import UNET, stored

__all__ = ["save_pipeline", "why_not_exportable"]


def why_not_exportable(denoiser: Denoiser) -> str | None:
    """Why a `DDPMPipeline` would not draw what this denoiser draws.

    It is None where it would, patches as channels.
    """
    if denoiser.config is None:
        return "it was put together by hand and has no config that rebuilds it"
    options, network = denoiser.config["denoiser"], unet_of(denoiser)
    if options.get("heads_upsample"):
        return (
            f"it has {options['heads']} attention heads on the way down and "
            f"{options['heads_upsample']} on the way up, which UNet2DModel's config cannot say"
        )
    if options.get("heads"):
        return (
            f"it has {options['heads']} attention heads at several widths, and UNet2DModel's "
            "config can only say how wide a head is"
        )
    if denoiser.time_scale != 1:
        return f"its network sees t times {denoiser.time_scale:g}, and DDPMPipeline gives t itself"
    if network.config.num_class_embeds:
        return "it is class-conditional, and DDPMPipeline gives no class"
    if denoiser.schedule.kind == "linear" and denoiser.schedule.T < 21:
        return (
            f"a linear schedule of {denoiser.schedule.T} levels ends at "
            f"β = 20/{denoiser.schedule.T}, which is bounded here and not in diffusers"
        )
    if network.time_proj.num_channels != network.config.block_out_channels[0]:
        return (
            "its embedding of t is wider than its first level, and UNet2DModel's config cannot say "
            "so"
        )
    return None


def unet_of(denoiser: Denoiser) -> Any:
    """The network of a denoiser that is rebuilt from a config: diffusers' UNet2DModel."""
    return denoiser.network


def save_pipeline(denoiser: Denoiser, folder: str | Path, half: bool = False) -> Path:
    """Writes `model_index.json`, `unet/` with safetensors, and `scheduler/`.

    The denoiser is one of which `why_not_exportable` says nothing.

    A denoiser of patches is one of 3 · patch² channels to diffusers: q(x_t|x_0) is the same for
    every pixel, so the order of pixels is nothing to it, and what the pipeline draws is the image
    after `pixel_shuffle`.

    Arguments:
        half: as of `save`.
    """
    from diffusers import DDPMPipeline, DDPMScheduler

    schedule = denoiser.schedule
    betas = (
        {
            "beta_schedule": "linear",
            "beta_start": 1e-4 * 1000 / schedule.T,
            "beta_end": 0.02 * 1000 / schedule.T,
        }
        if schedule.kind == "linear"
        else {"beta_schedule": "squaredcos_cap_v2"}
    )
    prediction = next(theirs for theirs, ours in PREDICTIONS.items() if ours == denoiser.prediction)
    scheduler = DDPMScheduler(
        schedule.T,
        prediction_type=prediction,
        variance_type=denoiser.variance,
        clip_sample=denoiser.clip,
        **betas,
    )
    pipeline: Any = DDPMPipeline(unet_of(denoiser), scheduler)  # diffusers gives it no types
    tensors = stored(denoiser.network, half)  # says what is no number, before anything is written
    pipeline.save_pretrained(folder)
    if half:
        save_file(tensors, Path(folder) / UNET, {"format": "pt"})
    return Path(folder)
