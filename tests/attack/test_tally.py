"""The count itself."""

import pytest


def test_a_case_ends_in_a_known_way(tally):
    with pytest.raises(ValueError, match="is none of"):
        tally.add("fine")
