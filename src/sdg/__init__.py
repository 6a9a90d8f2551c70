"""Semantic Diffusion Guidance.

    from sdg import DDIM, DPS, Pipeline

What is exported is imported when it is asked for, so that `import sdg` and a command's `--help`
need not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdg.diffusion.denoiser import Denoiser
    from sdg.diffusion.sampler import Sampler
    from sdg.diffusion.samplers import DDIM, DDPM, DPMSolver, Heun
    from sdg.diffusion.schedule import Schedule
    from sdg.errors import UserError
    from sdg.guidance import DPS, LGD, MPGD, TFG, FreeDoM, Guidance, SemanticGuidance, Universal
    from sdg.machine.cpu_sharing import share_cpus
    from sdg.models.guided import guided_denoiser
    from sdg.models.registry import from_pretrained
    from sdg.pipeline import Pipeline, SampleOutput
    from sdg.pipeline.semantic_guider import SemanticGuider
    from sdg.similarity import Class, Content, Structure, Style, Term, Text

__all__ = [
    "DDIM",
    "DDPM",
    "DPS",
    "LGD",
    "MPGD",
    "TFG",
    "Class",
    "Content",
    "DPMSolver",
    "Denoiser",
    "FreeDoM",
    "Guidance",
    "Heun",
    "Pipeline",
    "SampleOutput",
    "Sampler",
    "Schedule",
    "SemanticGuidance",
    "SemanticGuider",
    "Structure",
    "Style",
    "Term",
    "Text",
    "Universal",
    "UserError",
    "from_pretrained",
    "guided_denoiser",
    "share_cpus",
]

MODULES = {
    "sdg.diffusion.denoiser": ("Denoiser",),
    "sdg.diffusion.sampler": ("Sampler",),
    "sdg.diffusion.samplers": ("DDIM", "DDPM", "DPMSolver", "Heun"),
    "sdg.diffusion.schedule": ("Schedule",),
    "sdg.errors": ("UserError",),
    "sdg.guidance": ("DPS", "LGD", "MPGD", "TFG", "FreeDoM", "Universal"),
    "sdg.guidance.guidance": ("Guidance",),
    "sdg.guidance.semantic": ("SemanticGuidance",),
    "sdg.machine.cpu_sharing": ("share_cpus",),
    "sdg.models.guided": ("guided_denoiser",),
    "sdg.models.registry": ("from_pretrained",),
    "sdg.pipeline": ("Pipeline", "SampleOutput"),
    "sdg.pipeline.semantic_guider": ("SemanticGuider",),
    "sdg.similarity": ("Class", "Content", "Structure", "Style", "Term", "Text"),
}


def __getattr__(name: str) -> Any:
    """Imports an export when it is asked for."""
    for module, names in MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'sdg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
