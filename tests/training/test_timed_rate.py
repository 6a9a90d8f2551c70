"""A learning rate that falls by the clock."""

import math

import pytest
import torch

from sdg.training import module as training


def test_the_rate_follows_the_clock_and_not_the_steps(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = training.timed_cosine(optimizer, 10**7, seconds=50, warmup=0.1)

    def rate(second):
        now[0] = 100.0 + second
        optimizer.step()
        schedule.step()
        return optimizer.param_groups[0]["lr"]

    assert optimizer.param_groups[0]["lr"] == 0
    assert rate(2.5) == pytest.approx(1.0) and rate(5) == pytest.approx(2.0)
    assert rate(5 + 45 / 3) == pytest.approx(1 + math.cos(math.pi / 3))
    assert rate(5 + 45 / 2) == pytest.approx(1.0) == rate(5 + 45 / 2)
    assert rate(50) == pytest.approx(0, abs=1e-12) and rate(80) == pytest.approx(0, abs=1e-12)
