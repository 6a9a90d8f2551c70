"""Semantic Diffusion Guidance."""

from typing import Any

__all__ = ["Pipeline", "from_pretrained"]


def __getattr__(name: str) -> Any:
    """Imports a part when it is asked for.

    So a command's `--help` need not wait for torch.
    """
    if name == "from_pretrained":
        from sdg.models.registry import from_pretrained

        return from_pretrained
    if name == "Pipeline":
        from sdg.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module 'sdg' has no attribute {name!r}")
