"""Lightning modules that train."""

from typing import Any

from sdg.errors import UserError
from sdg.training.autoencoder import AutoencoderTraining
from sdg.training.classifier_noisy import ClassifierTraining
from sdg.training.clip import CLIPTraining
from sdg.training.denoiser import DenoiserTraining
from sdg.training.judge import JudgeTraining
from sdg.training.module import TrainingModule
from sdg.training.noise_aware import NoiseAwareFinetuning

__all__ = [
    "AutoencoderTraining",
    "CLIPTraining",
    "ClassifierTraining",
    "DenoiserTraining",
    "JudgeTraining",
    "NoiseAwareFinetuning",
    "TrainingModule",
]


def __getattr__(name: str) -> Any:
    """Answers a config of an earlier version, which calls `DenoiserTraining` DDPM."""
    if name == "DDPM":
        raise UserError("sdg.training.DDPM is now called sdg.training.DenoiserTraining.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
