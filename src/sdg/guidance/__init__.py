"""How a similarity steers: one object that a sampler calls, a file for each method."""

from sdg.diffusion.guide import GuidanceOutput
from sdg.guidance.guidance import Guidance, gradient
from sdg.guidance.semantic import SemanticGuidance
from sdg.guidance.training_free import DPS, LGD, MPGD, TFG, FreeDoM, Universal

__all__ = [
    "DPS",
    "LGD",
    "MPGD",
    "TFG",
    "FreeDoM",
    "Guidance",
    "GuidanceOutput",
    "SemanticGuidance",
    "Universal",
    "gradient",
]
