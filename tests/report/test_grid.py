"""A labelled grid of images."""

import pytest
import torch
from matplotlib.figure import Figure

from sdg.report import grid


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_whole_title_is_within_the_picture(tmp_path, monkeypatch, count):
    made = []

    class Watched(Figure):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr("matplotlib.figure.Figure", Watched)
    images = [torch.zeros(3, 8, 8, dtype=torch.uint8)] * count
    title = "a smiling person with long red hair, a green hat and glasses\nγ = 10"
    grid.labelled_grid(tmp_path / "grid.png", images, [""] * count, title)
    (figure,) = made
    text = figure.get_suptitle()
    assert text.split() == title.split()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
