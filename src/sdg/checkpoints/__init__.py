"""Weights in and out, of this project and of others, without running code."""

from sdg.checkpoints.models import from_pretrained

__all__ = ["from_pretrained"]
