"""The table of families: every sample is its reference's."""

import pytest
import torch


@pytest.fixture
def rows(benchmark):
    return benchmark("families"), benchmark("family_rows")


def differences(rows, group):
    """{(family, reference): the relative difference}."""
    table, groups = rows
    return {
        (family.name, family.reference): float(table.difference(family)[1])
        for family in getattr(groups, group)()
    }


@pytest.mark.parametrize(
    "group",
    [
        "discrete",
        "continuous",
        "latents",
        "folders",
        pytest.param("karras", marks=pytest.mark.slow),
        pytest.param("flows", marks=pytest.mark.slow),
    ],
)
def test_samples_are_those_of_the_reference(rows, group):
    for name, difference in differences(rows, group).items():
        assert difference < 1e-5, name


def test_guided_samples_rise_and_a_step_is_timed(rows):
    table, groups = rows
    family = next(groups.karras())
    small = family.denoiser.float()
    similarity = table.random_similarity(small)
    before, after = map(float, table.rise(small, family.sampler, similarity))
    assert after > before
    milliseconds, ratio = map(float, table.seconds(small, family.sampler, similarity, 1))
    assert milliseconds > 0 and ratio > 0.3
    assert torch.is_grad_enabled()
