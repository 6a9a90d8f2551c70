"""The symmetric cross-entropy, alone and over ranks."""

import pytest
import torch
import torch.nn.functional as F

from sdg.metrics.retrieval import retrieval_top1
from sdg.training.contrastive import contrastive_loss


def unit(n, d, seed):
    return F.normalize(
        torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=1
    )


def by_hand(a, b, scale):
    """−½ mean over pairs of log p(own b | a) + log p(own a | b), written out."""
    total = 0.0
    for i in range(len(a)):
        p_b = (scale * a[i] @ b[i]).exp() / sum((scale * a[i] @ b[j]).exp() for j in range(len(b)))
        p_a = (scale * a[i] @ b[i]).exp() / sum((scale * a[j] @ b[i]).exp() for j in range(len(a)))
        total += -(p_b.log() + p_a.log()) / 2
    return total / len(a)


@pytest.mark.parametrize("scale", [1.0, 20.0, torch.tensor(100.0, dtype=torch.float64)])
def test_loss_is_the_symmetric_cross_entropy(scale):
    a, b = unit(5, 3, 0), unit(5, 3, 1)
    torch.testing.assert_close(contrastive_loss(a, b, scale), by_hand(a, b, scale))


def test_loss_of_indistinguishable_pairs_is_log_n():
    z = unit(1, 4, 0).expand(8, 4)
    torch.testing.assert_close(
        contrastive_loss(z, z, 100.0), torch.tensor(8.0, dtype=torch.float64).log()
    )


def test_loss_of_orthogonal_pairs_at_clips_temperature_is_zero():
    assert contrastive_loss(torch.eye(6), torch.eye(6), 100.0) < 1e-6


def test_mean_of_the_ranks_losses_and_gradients_is_the_single_process_loss():
    a, b = unit(6, 4, 0).requires_grad_(), unit(6, 4, 1).requires_grad_()
    whole = contrastive_loss(a, b, 20.0)
    expected = torch.autograd.grad(whole, (a, b))

    parts_a, parts_b = a.view(2, 3, 4), b.view(2, 3, 4)

    def gather(z):
        (side,) = [parts for parts in (parts_a, parts_b) for part in parts if torch.equal(part, z)]
        return side

    ranks = [
        contrastive_loss(parts_a[rank], parts_b[rank], 20.0, gather, rank) for rank in range(2)
    ]
    torch.testing.assert_close(sum(ranks) / 2, whole)
    for found, wanted in zip(torch.autograd.grad(sum(ranks) / 2, (a, b)), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_rank_points_at_its_own_pairs():
    a, b = unit(4, 8, 0), unit(4, 8, 1)
    own, other = (
        contrastive_loss(a, a, 50.0, lambda z: torch.stack([b, z]), rank) for rank in (1, 0)
    )
    assert own < other


def test_retrieval_counts_the_queries_whose_own_key_is_nearest():
    keys = torch.eye(4)
    assert retrieval_top1(keys, keys) == 1
    assert retrieval_top1(keys[[1, 0, 2, 3]], keys) == 0.5
    assert retrieval_top1(keys.roll(1, 0), keys) == 0


def test_retrieval_takes_halves_beside_floats():
    z = torch.eye(5) + 0.01
    assert retrieval_top1(z, z.bfloat16()) == 1
    assert retrieval_top1(z.bfloat16(), z[torch.tensor([0, 1, 2, 4, 3])]) == pytest.approx(0.6)
