"""Alignment, its interval, cost, layout and the judge, against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from sdg.data.captions import FACTORS
from sdg.metrics.alignment import Alignment, bootstrap_interval, hits
from sdg.metrics.cost import Meter, Network
from sdg.metrics.layout import centres, intersection_over_union, spread_within
from sdg.models.judge import Judge, Judgement

TRUTH = torch.tensor(
    [[4, 0, -1], [4, -1, -1], [-1, 2, 1], [-1, -1, -1]]
)  # −1 where the prompt names nothing
GUESSES = torch.tensor(
    [[4, 0, 2], [3, 0, 0], [0, 2, 0], [1, 1, 1]]
)  # right; wrong; right and wrong; nothing asked


# --- alignment ----------------------------------------------------------------------------------


def test_shares_count_only_what_prompts_name():
    metric = Alignment(["shape", "colour", "size"])
    metric.update(GUESSES, TRUTH)
    assert metric.compute() == {"shape": 1 / 2, "colour": 2 / 2, "size": 0 / 1, "all": 1 / 3}


def test_updates_accumulate_over_batches():
    whole, parts = Alignment(["shape", "colour", "size"]), Alignment(["shape", "colour", "size"])
    whole.update(GUESSES, TRUTH)
    for i in range(4):
        parts.update(GUESSES[i : i + 1], TRUTH[i : i + 1])
    assert parts.compute() == whole.compute()


def test_what_no_prompt_names_has_no_share():
    metric = Alignment(["shape", "colour"])
    metric.update(torch.tensor([[1, 2]]), torch.tensor([[-1, -1]]))
    assert metric.compute() == {"shape": None, "colour": None, "all": None}
    metric.update(torch.tensor([[1, 2]]), torch.tensor([[1, -1]]))
    assert metric.compute() == {"shape": 1.0, "colour": None, "all": 1.0}


def test_hits_of_each_sample_are_the_table():
    right, asked = hits(GUESSES, TRUTH)
    assert right.int().tolist() == [[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert asked.int().tolist() == [[1, 1, 0, 1], [1, 0, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]]


# --- its interval -------------------------------------------------------------------------------


@pytest.mark.parametrize("n, k", [(200, 60), (500, 450)])
def test_interval_of_independent_samples_is_the_binomial_one(n, k):
    right = torch.tensor([1.0] * k + [0.0] * (n - k))
    low, high = bootstrap_interval(right, [f"prompt {i}" for i in range(n)], draws=4000)
    at_most = (
        torch.distributions.Binomial(n, torch.tensor(k / n))
        .log_prob(torch.arange(n + 1.0))
        .exp()
        .cumsum(0)
    )
    expected_low, expected_high = (
        int((at_most < share).sum()) for share in (0.025, 0.975)
    )  # the binomial's own quantiles
    assert low * n == pytest.approx(expected_low, abs=1.5) and high * n == pytest.approx(
        expected_high, abs=1.5
    )


def test_samples_of_one_prompt_count_once():
    # Eight equal samples of each prompt tell no more than one: the interval is that of the prompts.
    prompts, right = [f"prompt {i}" for i in range(100)], torch.tensor([1.0] * 30 + [0.0] * 70)
    many = bootstrap_interval(
        right.repeat_interleave(8), [prompt for prompt in prompts for _ in range(8)]
    )
    assert many == pytest.approx(bootstrap_interval(right, prompts))


def test_samples_may_come_in_any_order_and_number():
    right, prompts = torch.tensor([1, 0, 0, 1, 1]), ["a", "b", "a", "b", "b"]
    low, high = bootstrap_interval(right, prompts)
    assert low == pytest.approx(1 / 2) and high == pytest.approx(2 / 3)  # a alone, b alone


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_interval_of_equal_samples_is_a_point(value):
    assert bootstrap_interval(torch.full((12,), value), list("abcdef") * 2) == (value, value)


def test_interval_is_reproducible():
    right, prompts = torch.arange(40) % 3 == 0, [str(i % 10) for i in range(40)]
    torch.manual_seed(0)
    first = bootstrap_interval(right, prompts)
    torch.manual_seed(1)
    assert bootstrap_interval(right, prompts) == first


# --- cost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes, backwards", [(1, 0), (3, 0), (2, 2)])
def test_cost_of_a_convolution_is_its_multiplications_and_additions(passes, backwards):
    # 3 × 3 × 4 channels in, 5 out, at 8 × 8 places: a multiplication and an addition each; its
    # gradient with respect to the image is as dear.
    network = nn.Conv2d(4, 5, 3, padding=1, bias=False).requires_grad_(False)
    meter, each = Meter({"net": Network(network, network)}), 2 * 9 * 4 * 5 * 64
    for k in range(passes):
        x = torch.randn(6, 4, 8, 8, requires_grad=k < backwards)
        out = network(x)
        if k < backwards:
            out.sum().backward()
    cost = meter.close(torch.randn(4, 8, 8))
    assert cost == {
        "net_forwards": 6 * passes,
        "net_backwards": 6 * backwards,
        "flops": 6 * (passes + backwards) * each,
    }


def test_a_network_inside_another_is_counted_once():
    inner, outer = (nn.Conv2d(3, 3, 1, bias=False).requires_grad_(False) for _ in range(2))
    meter = Meter(
        {
            "inner": Network(inner, inner),
            "outer": Network(outer, lambda x: outer(inner(x)), inside="inner"),
        }
    )
    outer(inner(torch.randn(2, 3, 4, 4, requires_grad=True))).sum().backward()
    cost = meter.close(torch.randn(3, 4, 4))
    assert cost["flops"] == 2 * (2 + 2) * 2 * 3 * 3 * 16


# --- layout -------------------------------------------------------------------------------------


def test_intersection_over_union_by_hand():
    one, other = torch.zeros(3, 4, 4, dtype=torch.bool), torch.zeros(3, 4, 4, dtype=torch.bool)
    one[0, :2], other[0, 1:3] = True, True  # 8 and 8 pixels, 4 in common
    one[1, 0, 0] = True
    assert intersection_over_union(one, other).tolist() == pytest.approx([4 / 12, 0, 1])


def test_centres_and_their_spread_by_hand():
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[0, 0, 0], masks[1, 1:3, 3] = True, True
    torch.testing.assert_close(
        centres(masks), torch.tensor([[0.125, 0.125], [0.875, 0.5], [0.5, 0.5]])
    )
    points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]])
    assert spread_within(points, ["a", "a", "b"]) == pytest.approx(2**0.5)
    assert spread_within(points, list("abc")) is None


# --- judge --------------------------------------------------------------------------------------


@torch.no_grad()
def test_judge_reads_every_factor_off_its_features():
    torch.manual_seed(0)
    judge = Judge("resnet_tiny", {name: len(values) for name, values in FACTORS.items()}).eval()
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    logits, mask, features = read = judge(x)
    guesses = read.guesses()
    assert {name: value.shape for name, value in logits.items()} == {
        name: (4, len(values)) for name, values in FACTORS.items()
    }
    assert features.shape == (4, judge.num_features)
    head = judge.tower.get_classifier()
    torch.testing.assert_close(
        torch.cat(list(logits.values()), 1), features @ head.weight.T + head.bias
    )
    torch.testing.assert_close(torch.cat(list(logits.values()), 1), judge.tower(x))
    for column, name in zip(guesses.T, FACTORS, strict=True):
        assert torch.equal(column, logits[name].argmax(1))
    assert mask.shape == (4, 32, 32)


def test_judge_guesses_the_factor_that_its_last_layer_favours():
    judge = Judge("resnet_tiny", {"shape": 3, "colour": 2})
    head = judge.tower.get_classifier()
    nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor([0.0, 0.0, 1.0, 5.0, 4.0])
    assert judge.eval()(torch.zeros(2, 3, 32, 32)).guesses().tolist() == [[2, 0], [2, 0]]


def test_likelihood_of_a_wish_is_that_of_the_factors_that_it_names():
    logits = {
        "shape": torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]),
        "colour": torch.tensor([[1.0, 0.0], [0.0, 5.0]]),
    }
    found = Judgement(logits, None, None).log_likelihood(torch.tensor([[2, 1], [-1, 0], [-1, -1]]))
    shape, colour = (value.log_softmax(1) for value in logits.values())
    torch.testing.assert_close(
        found, torch.stack([shape[:, 2] + colour[:, 1], colour[:, 0], torch.zeros(2)], 1)
    )
