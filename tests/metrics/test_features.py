"""Distances in features and retrieval.

They meet hand-computed cases, closed forms and torchmetrics, and are the same on any number of
processes.
"""

import math

import pytest
import torch
import torch.multiprocessing as mp
from ranks import collection, of_rank
from torchmetrics.image.fid import FrechetInceptionDistance

from sdg.errors import UserError
from sdg.evaluation.published_networks import inception_file, inception_of
from sdg.evaluation.real_features import real_features
from sdg.io.pretrained import tensors_of
from sdg.metrics.alignment import bootstrap_interval
from sdg.metrics.features import (
    PAIRS,
    Diversity,
    Frechet,
    Kernel,
    PrecisionRecall,
    SamePrompts,
    pair_distances,
)
from sdg.metrics.perceptual import Perceptual, pairs_within
from sdg.metrics.retrieval import Retrieval, chance_within


def normal(n, seed=0, features=6):
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed))


def of(metric, features, group=None, order=None):
    order = torch.arange(len(features)) if order is None else order
    metric.update(
        features[order],
        order,
        torch.zeros(len(order), dtype=torch.long) if group is None else torch.tensor(group)[order],
    )
    return metric.compute()


# --- Fréchet distance ---------------------------------------------------------------------------


def test_distance_of_a_set_to_itself_is_zero():
    assert of(Frechet(normal(300)), normal(300)) == pytest.approx(0, abs=1e-6)


def test_distance_of_shifted_features_is_the_square_of_the_shift():
    shift = torch.tensor([1.0, 0.0, -2.0, 0.5, 0.0, 3.0])
    assert of(Frechet(normal(300)), normal(300) + shift) == pytest.approx(
        shift.square().sum().item(), rel=1e-4
    )


def test_distance_of_any_two_sets_is_the_closed_form():
    # tr (C C')^½ by the eigenvalues of C^½ C' C^½, symmetric and so free of complex roots.
    a, b = (
        normal(250).double(),
        (normal(400, 1) @ torch.linspace(-1, 2, 36).view(6, 6) + 0.3).double(),
    )
    (m, c), (n, d) = ((x.mean(0), x.T.cov()) for x in (a, b))
    values, vectors = torch.linalg.eigh(c)
    root = vectors @ values.sqrt().diag() @ vectors.T
    expected = (
        (m - n).square().sum()
        + c.trace()
        + d.trace()
        - 2 * torch.linalg.eigvalsh(root @ d @ root).clamp(min=0).sqrt().sum()
    )
    assert of(Frechet(b.float()), a.float()) == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("metric", [Frechet, Kernel, PrecisionRecall])
def test_fewer_than_100_images_have_no_distance(metric):
    assert (
        of(metric(normal(300)), normal(99)) is None and of(metric(normal(99)), normal(300)) is None
    )
    assert of(metric(normal(100)), normal(100, 1)) is not None


# --- kernel distance ----------------------------------------------------------------------------


def test_kernel_distance_is_the_unbiased_estimate():
    # Bińkowski et al. 2018, eq. 4, over all samples at once: with as many samples as a subset holds
    # every subset is the whole set.
    a, b = normal(120).double(), (normal(120, 1) * 1.3 + 0.2).double()
    kernel = lambda x, y: (x @ y.T / 6 + 1) ** 3  # noqa: E731
    off = lambda k: (k.sum() - k.trace()) / (120 * 119)  # noqa: E731
    expected = off(kernel(a, a)) + off(kernel(b, b)) - 2 * kernel(a, b).mean()
    mean, deviation = of(Kernel(b.float()), a.float())
    assert mean == pytest.approx(expected.item(), rel=1e-4) and deviation == pytest.approx(
        0, abs=1e-5
    )


def test_kernel_distance_is_reproducible_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    first, after = of(Kernel(normal(200, 1)), normal(300)), torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after) and of(Kernel(normal(200, 1)), normal(300)) == first
    assert of(Kernel(normal(200)), normal(99)) is None


# --- precision and recall -----------------------------------------------------------------------


def test_precision_and_recall_by_hand():
    # Real points 0, 1, 2, …, 119 on a line have their third neighbour at a distance of 2 (of 3 at
    # the ends, 0 and 119). Samples: 60 inside, 60 far away, 3 apart, so that each's third neighbour
    # is 6 away (9 at the ends).
    real = torch.arange(120.0)[:, None]
    samples = torch.cat([torch.arange(60.0) + 0.5, 1000 + 3 * torch.arange(60.0)])[:, None]
    precision, recall = of(PrecisionRecall(real), samples)
    assert precision == pytest.approx(60 / 120)
    # Samples 0.5 … 59.5 surround each with a radius of 2, 3 at the ends: 0 … 62 (59.5 + 3) of the
    # real ones.
    assert recall == pytest.approx(63 / 120)


def test_copies_have_all_precision_and_recall_and_strangers_none():
    assert of(PrecisionRecall(normal(150)), normal(150)) == (1.0, 1.0)
    assert of(PrecisionRecall(normal(150)), normal(150) + 100) == (0.0, 0.0)
    assert of(PrecisionRecall(normal(99)), normal(150)) is None


def test_one_collapsed_mode_is_precise_and_recalls_little():
    precision, recall = of(PrecisionRecall(normal(300)), 0.05 * normal(300, 1))
    assert precision > 0.95 and recall < 0.1


# --- diversity ----------------------------------------------------------------------------------


def test_diversity_is_the_mean_distance_within_groups():
    features = torch.tensor(
        [[0.0, 0.0], [3.0, 4.0], [0.0, 8.0], [1.0, 1.0], [1.0, 2.0], [9.0, 9.0]]
    )
    mean, interval = of(Diversity(), features, [0, 0, 0, 1, 1, 2])
    assert mean == pytest.approx((5 + 8 + 5 + 1) / 4) and interval == pytest.approx(
        (1, 6)
    )  # one condition alone, or the other
    assert of(Diversity(), features, range(6)) is None


def test_diversity_of_groups_with_few_pairs_takes_all_of_them():
    sizes = [447, 1, 30, 2]  # 447 · 446 / 2 = 99 681 pairs
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    features = normal(len(group)) * (1 + group[:, None])
    pairs = [torch.pdist(part) for part in features.split(sizes)]
    names = [str(g) for g, part in enumerate(pairs) for _ in part]
    distances = torch.cat(pairs)
    mean, interval = of(Diversity(), features, group.tolist())
    assert mean == distances.mean().item() and interval == bootstrap_interval(distances, names)


def test_diversity_of_many_samples_is_near_the_closed_form():
    # The difference of two draws of N(0, I) in 6 dimensions is √2 times such a draw, whose length
    # has the mean √2 Γ(7/2)/Γ(3).
    expected = 2 * math.gamma(3.5) / math.gamma(3)
    mean, interval = of(Diversity(), normal(3000))
    assert mean == pytest.approx(expected, rel=0.01)
    assert interval == pytest.approx((mean, mean), rel=1e-4)  # one condition alone
    assert (mean, interval) == of(Diversity(), normal(3000), order=torch.randperm(3000))


def test_pairs_of_many_points_are_drawn_evenly_and_never_of_a_point_with_itself():
    count = 500  # points 0, 1, 2, … on a line
    distances = pair_distances(torch.arange(count)[:, None].double())
    assert len(distances) == PAIRS and distances.min() >= 1
    # Of count · (count − 1)/2 pairs, count − d are d apart; the mean is (count + 1)/3.
    share = (distances == 1).double().mean().item()
    assert share == pytest.approx(2 / count, rel=0.2)
    assert distances.mean().item() == pytest.approx((count + 1) / 3, rel=0.01)


# --- retrieval ----------------------------------------------------------------------------------


def test_retrieval_by_hand():
    scores = torch.tensor(
        [
            [3.0, 2.0, 1.0, 0.0, -1.0, -2.0],
            [3.0, 2.0, 1.0, 0.0, -1.0, -2.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            [1.0, 5.0, 5.0, 0.0, 0.0, 9.0],
        ]
    )
    own = torch.tensor([0, 5, 2, 1])  # best; worst of six; all alike; behind one and beside one
    torch.testing.assert_close(chance_within(scores, own, 1), torch.tensor([1, 0, 1 / 6, 0]))
    torch.testing.assert_close(chance_within(scores, own, 2), torch.tensor([1, 0, 2 / 6, 1 / 2]))
    metric = Retrieval()
    metric.update(scores[:3], own[:3])
    metric.update(scores[3:], own[3:])
    assert metric.compute() == pytest.approx(
        {"top1": (1 + 1 / 6) / 4, "top5": (1 + 0 + 5 / 6 + 1) / 4}
    )


# --- ranks --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_give_what_one_gives_and_what_torchmetrics_gives(free_port):
    features, real = normal(250) * 1.2 + 0.1, normal(400, 1)
    group = torch.arange(250) // 5
    whole = collection(real)
    whole.update(features, torch.arange(250), group)
    retrieval = Retrieval()
    retrieval.update(features @ features[:10].T, torch.arange(250) % 10)
    with mp.Manager() as manager:
        found = manager.dict()
        mp.spawn(of_rank, (2, features, group, real, free_port, found), nprocs=2)
        found = dict(found)
    expected = whole.compute() | retrieval.compute()
    expected["diversity"], found["diversity"] = expected["diversity"][0], found["diversity"][0]
    assert (
        all(found[name] == pytest.approx(value, rel=1e-6) for name, value in expected.items())
        and found.keys() == expected.keys()
    )

    class Same(torch.nn.Module):
        num_features = 6

        def forward(self, x):
            return x

    theirs = FrechetInceptionDistance(feature=Same())
    theirs.update(real, real=True)
    theirs.update(features, real=False)
    assert found["frechet"] == pytest.approx(float(theirs.compute()), rel=1e-3)


def test_features_are_held_once_for_all_metrics():
    metrics, real = collection(normal(150)), normal(200, 1)
    for part in torch.arange(200).split(50):
        metrics.update(real[part], part, part)
    assert len(metrics.compute_groups) == 1


# --- real images --------------------------------------------------------------------------------


class Images:
    def __init__(self):
        self.asked = []

    def __len__(self):
        return 600

    def __getitems__(self, indices):
        self.asked += indices
        return {
            "image": torch.tensor(indices, dtype=torch.float32)
            .view(-1, 1, 1, 1)
            .expand(-1, 3, 1, 1)
        }


def test_samples_are_compared_with_as_many_real_images_of_the_same_prompts():
    generator = torch.Generator().manual_seed(0)
    real, others, samples = torch.randn(3, 200, 4, generator=generator)
    metric, order = SamePrompts(), torch.randperm(200, generator=generator)
    for part in order.split(64):
        metric.update(samples[part] + 1, real[part], others[part], part)
    theirs = []
    for features in (samples + 1, others):
        distance = Frechet(real)
        distance.update(features, torch.arange(200), torch.zeros(200))
        theirs.append(distance.compute())
    assert metric.compute() == pytest.approx(theirs)
    assert theirs[0] > 3 and theirs[1] < 0.2  # a shift by 1 in 4 features


def test_real_images_are_read_once_until_data_network_or_number_change(tmp_path):
    images = Images()

    def read(**key):
        return real_features(
            images, key.pop("count", 550), lambda x: {"features": 2 * x.flatten(1)}, tmp_path, **key
        )["features"]

    first = read(data="a", network="n")
    torch.testing.assert_close(first, 2 * torch.arange(550.0)[:, None].expand(-1, 3))
    assert images.asked == list(range(550))
    assert torch.equal(read(data="a", network="n"), first) and len(images.asked) == 550
    for other in (
        {"data": "b", "network": "n"},
        {"data": "a", "network": "m"},
        {"data": "a", "network": "n", "count": 10},
    ):
        read(**other)
        assert len(images.asked) > 550
        images.asked = images.asked[:550]
    assert len(list(tmp_path.glob("*.safetensors"))) == 4
    assert len(read(data="a", network="n", count=10_000)) == 600


# --- networks that others trained ---------------------------------------------------------------


@pytest.mark.slow
def test_lpips_of_pairs_is_torchmetrics(alexnet):
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    one, other = (
        torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        for seed in (0, 1)
    )
    metric = Perceptual(tensors_of(alexnet))
    assert metric.compute() is None
    metric.update(one[:4], other[:4])
    metric.update(one[4:], other[4:])
    assert metric.compute() == pytest.approx(
        float(learned_perceptual_image_patch_similarity(one, other, net_type="alex")), rel=1e-5
    )
    same = Perceptual(tensors_of(alexnet))
    same.update(one, one)
    assert same.compute() == pytest.approx(0, abs=1e-7)


def test_pairs_are_those_of_one_wish():
    assert pairs_within(torch.tensor([1, 0, 1, 1, 2])).tolist() == [[0, 2], [0, 3], [2, 3]]
    assert pairs_within(torch.arange(3)).shape == (0, 2)


@pytest.mark.slow
def test_inception_of_a_file_gives_its_2048_features(inception):
    file, made = inception
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = inception_of(file)(x)
    torch.testing.assert_close(found, made.eval()(((x + 1) * 127.5).round().to(torch.uint8))[0])
    assert found.shape == (3, 2048)


def test_inception_without_its_file_says_where_to_get_it(tmp_path):
    with pytest.raises(
        UserError,
        match=r"eval\.inception: there is no file .*weights-inception-2015-12-05-6726825d\.pth",
    ):
        inception_file(str(tmp_path / "nowhere.pth"))
    (tmp_path / "wrong.pth").write_text("no weights")
    with pytest.raises(UserError, match=r"wrong\.pth is no file of weights"):
        inception_of(tmp_path / "wrong.pth")
    torch.save({"fc.weight": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="does not hold torch-fidelity's Inception-v3"):
        inception_of(tmp_path / "other.pth")
