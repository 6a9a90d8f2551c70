"""A request for each sample, and the seeds that follow from the run's."""

from sdg.data.requests import Requests


def seeds(requests):
    return [request.seed for request in requests]


def conditions(*sentences):
    return [{"text": sentence} for sentence in sentences]


def test_requests_are_k_for_each_wish_in_order():
    requests = Requests(conditions("a ring", "a star"), 3, seed=0)
    assert len(requests) == 6
    assert [(requests[i].index, requests[i].conditions["text"]) for i in range(6)] == list(
        enumerate(["a ring"] * 3 + ["a star"] * 3)
    )


def test_seed_follows_from_the_runs_seed_and_the_index_alone():
    reference = seeds(Requests(conditions("a ring"), 12, seed=7))
    assert seeds(Requests(conditions("a star", "a heart", "a ring"), 4, seed=7)) == reference
    assert seeds(Requests(conditions("a star"), 5, seed=7)) == reference[:5]


def test_no_two_samples_share_a_seed_within_a_run_or_between_runs():
    # As they would if a seed were the run's plus the index.
    every = [
        seed for run in range(20) for seed in seeds(Requests(conditions("a ring"), 200, seed=run))
    ]
    assert len(set(every)) == len(every) and all(0 <= seed < 2**63 for seed in every)
