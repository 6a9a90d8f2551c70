"""Lightning modules that train."""

from sdg.training.classifier_noisy import ClassifierTraining
from sdg.training.clip import CLIPTraining
from sdg.training.denoiser import DenoiserTraining
from sdg.training.judge import JudgeTraining
from sdg.training.noise_aware import NoiseAwareFinetuning

__all__ = [
    "CLIPTraining",
    "ClassifierTraining",
    "DenoiserTraining",
    "JudgeTraining",
    "NoiseAwareFinetuning",
]
