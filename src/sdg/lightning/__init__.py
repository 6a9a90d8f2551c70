"""What the user runs."""

from sdg.lightning.classifier_noisy import ClassifierTraining
from sdg.lightning.clip import CLIP
from sdg.lightning.ddpm import DDPM
from sdg.lightning.guided_sampling import GuidedSampling
from sdg.lightning.judge import Judge
from sdg.lightning.noise_aware import NoiseAwareFinetuning

__all__ = ["CLIP", "ClassifierTraining", "DDPM", "GuidedSampling", "Judge", "NoiseAwareFinetuning"]
