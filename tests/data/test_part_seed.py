"""No part of rendered data is a part of the data of another seed."""

import pytest
import torch

from sdg.data.part_seed import part_seed
from sdg.data.portraits_data import PortraitsData
from sdg.data.shapes_data import ShapesData


def test_the_default_seed_has_the_seeds_that_it_had():
    assert [part_seed(0, part) for part in ("train", "held_out", "combinations")] == [0, 1, 2]


def test_no_two_parts_share_a_seed():
    parts = [
        part_seed(seed, part)
        for seed in range(1001)
        for part in ("train", "held_out", "combinations")
    ]
    assert len(set(parts)) == len(parts)


@pytest.mark.parametrize("seed", [1, 2])
def test_training_images_of_one_seed_are_no_held_out_images_of_the_default(seed):
    ours = ShapesData(size=40, held_out=40, batch_size=4)
    theirs = ShapesData(size=40, held_out=40, seed=seed, batch_size=4)
    for data in (ours, theirs):
        data.setup("fit")
    index = list(range(40))
    images = [part.__getitems__(index)["image"] for part in (ours.held_out, theirs.train)]
    assert not torch.equal(*images)
    portraits = PortraitsData(size=4, held_out=4, seed=seed, batch_size=4)
    portraits.setup("fit")
    assert portraits.train.seed not in (1, 2)
