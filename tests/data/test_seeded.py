"""What chance decides in a batch follows from seed, epoch and place, whoever fetches it."""

import itertools

import pytest
import torch

from sdg.data.datamodule import whole
from sdg.data.loader import Order, Resumable
from sdg.data.seeded import Seeded, seeded
from sdg.data.shapes import Shapes

IMAGES = 24


@pytest.fixture(scope="module")
def shapes():
    return Shapes(IMAGES, seed=0, resolution=16, captions=True)


def loader(images, epoch=0, workers=0, seed=0):
    order = Order(images, 1, 0, shuffle=True, seed=seed, drop_last=True)
    order.set_epoch(epoch)
    return Resumable(
        Seeded(images, seed),
        lambda: epoch,
        batch_size=4,
        sampler=order,
        num_workers=workers,
        collate_fn=whole,
    )


def captions(batches):
    return [batch["caption"] for batch in batches]


@pytest.mark.parametrize("workers", [0, 2])
def test_captions_after_a_resume_are_those_that_would_have_come(shapes, workers):
    expected = captions(loader(shapes))
    torch.randn(7)
    resumed = loader(shapes, workers=workers)
    resumed.load_state_dict({"given": 8})
    assert captions(resumed) == expected[2:]


def test_another_epoch_or_seed_has_other_captions_of_the_same_image(shapes):
    def worded(epoch, seed):
        images = Seeded(shapes, seed)
        images.set_epoch(epoch)
        return images.__getitems__(list(range(IMAGES)))["caption"]

    places = list(itertools.product((0, 1), (0, 1)))
    for one, other in itertools.combinations(places, 2):
        assert worded(*one) != worded(*other)
    assert worded(1, 1) == worded(1, 1)


def test_what_draws_beside_it_is_not_disturbed(shapes):
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    Seeded(shapes, 0).__getitems__([3, 1])
    with pytest.raises(ZeroDivisionError), seeded(0, 1):
        torch.randn(1)
        raise ZeroDivisionError
    assert torch.equal(torch.randn(3), expected)
