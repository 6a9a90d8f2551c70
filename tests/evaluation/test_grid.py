"""The picture of a run's first samples."""

import pytest
import torch

from sdg.evaluation.grid import side_by_side
from sdg.report.samples import strength


@pytest.mark.parametrize(
    ("count", "width", "lines", "columns"),
    [(16, 2, 6, 6), (2, 2, 2, 2), (3, 9, 3, 9), (1, 4, 1, 4)],
)
def test_short_rows_stand_side_by_side(count, width, lines, columns):
    cell = (torch.zeros(3, 2, 2), "")
    rows = side_by_side([[cell] * width for _ in range(count)])
    assert (len(rows), max(map(len, rows))) == (lines, columns)
    assert sum(map(len, rows)) == count * width


def test_a_shorter_row_leaves_places_empty():
    cell = (torch.zeros(3, 2, 2), "")
    rows = side_by_side([[cell] * 2, [cell], *([[cell] * 2] * 14)])
    assert [each is None for each in rows[0]] == [False, False, False, True, False, False]


def test_an_unguided_run_says_that_nothing_steered():
    assert strength(2.0) == "γ = 2" and strength(0).startswith("unguided (γ = 0): ")
