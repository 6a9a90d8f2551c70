"""Guided sampling in one object."""

from sdg.pipeline.output import SampleOutput
from sdg.pipeline.pipeline import Pipeline

__all__ = ["Pipeline", "SampleOutput"]
