"""Which data sets have a renderer that reads."""

from collections.abc import Callable

from sdg.data.portraits import Portraits
from sdg.data.shapes import Shapes
from sdg.metrics.portrait_reader import PortraitReader
from sdg.metrics.reading import Reader
from sdg.metrics.shape_reader import ShapeReader

__all__ = ["READERS", "reader_of"]

READERS: dict[type, Callable[[int], Reader]] = {Portraits: PortraitReader, Shapes: ShapeReader}


def reader_of(dataset) -> Reader | None:
    """What reads the images of a data set; None where there is no renderer."""
    make = READERS.get(type(dataset))
    return make(dataset.resolution) if make else None
