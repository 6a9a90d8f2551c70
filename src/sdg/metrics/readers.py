"""Which data sets have a renderer that reads."""

from sdg.data.portraits import Portraits
from sdg.data.shapes import Shapes
from sdg.metrics.portrait_reader import PortraitReader
from sdg.metrics.reading import Reader
from sdg.metrics.shape_reader import ShapeReader

__all__ = ["reader_of"]


def reader_of(dataset) -> Reader | None:
    """What reads the images of a data set; None where there is no renderer."""
    if isinstance(dataset, Shapes):
        return ShapeReader(dataset.resolution)
    if isinstance(dataset, Portraits) and dataset.style.name == "avataaars":
        return PortraitReader(dataset.resolution)
    return None
