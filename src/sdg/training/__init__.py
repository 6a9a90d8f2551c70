"""Lightning modules that train."""

from sdg.training.classifier_noisy import ClassifierTraining
from sdg.training.clip import CLIPTraining
from sdg.training.ddpm import DDPM
from sdg.training.judge import JudgeTraining
from sdg.training.module import TrainingModule
from sdg.training.noise_aware import NoiseAwareFinetuning

__all__ = [
    "CLIPTraining",
    "ClassifierTraining",
    "DDPM",
    "JudgeTraining",
    "NoiseAwareFinetuning",
    "TrainingModule",
]
