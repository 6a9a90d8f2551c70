"""Which data sets have a renderer that reads."""

from sdg.data.portraits import Portraits
from sdg.data.shapes import Shapes
from sdg.metrics.portrait_reader import PortraitReader
from sdg.metrics.reading import Reader
from sdg.metrics.shape_reader import ShapeReader

__all__ = ["choose_reader"]

SHAPES_SIDE, PORTRAITS_SIDE = 32, 64


def choose_reader(dataset) -> Reader | None:
    """What reads the images of a data set; None where there is no renderer.

    Nor is there one at other sizes than those at which the readers' r_0 was measured.
    """
    if isinstance(dataset, Shapes) and dataset.resolution == SHAPES_SIDE:
        return ShapeReader(SHAPES_SIDE)
    if isinstance(dataset, Portraits) and dataset.resolution == PORTRAITS_SIDE:
        return PortraitReader(PORTRAITS_SIDE) if dataset.style.name == "avataaars" else None
    return None
