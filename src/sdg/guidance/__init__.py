"""How a similarity steers: one object that a sampler calls, a file for each method."""

from sdg.diffusion.guide import GuidanceOutput
from sdg.guidance.guidance import Guidance, gradient

__all__ = ["Guidance", "GuidanceOutput", "gradient"]
