"""Checks of what a user gives."""

import numpy as np
import pytest

from sdg.errors import UserError, integer, number


def test_numbers_of_numpy_are_numbers():
    steps, gamma = integer("steps", np.int64(5), 1), number("gamma", np.float32(0.5))
    assert (steps, gamma) == (5, 0.5)
    assert type(steps) is int and type(gamma) is float


@pytest.mark.parametrize("value", [True, np.bool_(True), "1", None, [1], float("nan"), 10**400])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(UserError, match="gamma must be a finite number"):
        number("gamma", value)


@pytest.mark.parametrize("value", [True, np.bool_(True), "1", None, 1.0, np.float64(1), 0])
def test_what_is_no_integer_in_range_is_refused(value):
    with pytest.raises(UserError, match="steps must be an integer of at least 1"):
        integer("steps", value, 1)
