"""Banks of sentences: what each group holds."""

import pytest
import torch
import torch.nn.functional as F

from sdg.errors import UserError
from sdg.training.banks import NEAREST, banks_of

SIDE = 24  # captions lie on a grid of directions, so that near ones are known


class Images:
    """SIDE² captions "row column"; an image of each."""

    has_captions = True

    def __len__(self):
        return SIDE**2

    def caption(self, index, variant=0):
        return f"{index // SIDE} {index % SIDE}"


def encode(sentences):
    """Unit vectors (cos, sin) ⊕ 1 of each number, by which near numbers are near."""
    numbers = torch.tensor([list(map(int, sentence.split())) for sentence in sentences])
    angles = numbers / SIDE
    return F.normalize(torch.cat([angles.cos(), angles.sin()], 1), dim=1)


def test_a_group_of_neighbours_is_a_caption_and_the_nearest_of_the_pool():
    (bank,) = banks_of("neighbours", 3 * NEAREST, Images(), Images(), encode)
    groups = bank.sample({"caption": ["0 0"]})
    assert [group.shape for group in groups] == [(NEAREST, 4)] * 3
    everything = encode([Images().caption(i) for i in range(len(Images()))])
    for group in groups:
        anchor = group[0]
        reached = (everything @ anchor).sort(descending=True).values[:NEAREST]
        torch.testing.assert_close((group @ anchor).sort(descending=True).values, reached)
        assert (group @ group.T).min() > (everything @ everything.T).min() + 0.1


def test_the_groups_of_training_are_drawn_and_those_of_validation_stay():
    (bank,) = banks_of("neighbours", NEAREST, Images(), Images(), encode)
    torch.manual_seed(0)
    first, second = bank.sample({}), bank.sample({})
    assert not torch.equal(first[0], second[0])
    for one, other in zip(bank.held_out(), bank.held_out(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_stream_has_no_neighbours():
    with pytest.raises(UserError, match="module.bank=neighbours needs training images"):
        banks_of("neighbours", 64, None, Images(), encode)
