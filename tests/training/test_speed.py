"""The figures of speed against a clock that the test moves."""

from types import SimpleNamespace

import pytest
import torch

from sdg.training import speed
from sdg.training.speed import Speed


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(speed.time, "monotonic", lambda: now[0])
    return now


class Module:
    def log_dict(self, figures):
        self.figures = figures


def trained(callback, clock, steps, trainer, images=8):
    """Runs steps of (seconds without data, seconds of work)."""
    module, batch = Module(), {"image": torch.zeros(images, 3, 2, 2)}
    for wait, work in steps:
        clock[0] += wait
        callback.on_train_batch_start(trainer, module, batch, 0)
        clock[0] += work
        callback.on_train_batch_end(trainer, module, None, batch, 0)
    return module


@pytest.fixture
def trainer():
    return SimpleNamespace(log_every_n_steps=2, world_size=3)


def test_both_figures_are_of_the_last_steps(clock, trainer):
    callback = Speed()
    callback.on_train_start(trainer, None)
    module = trained(callback, clock, [(50, 9), (7, 7), (1, 3), (0, 4)], trainer)
    assert module.figures["train/images_per_second"] == pytest.approx(2 * 3 * 8 / 8)
    assert module.figures["train/data_wait"] == pytest.approx(1 / 8)


@pytest.mark.parametrize("between", ["on_validation_end", "on_save_checkpoint"])
def test_validation_and_checkpoints_are_no_wait_for_data(clock, trainer, between):
    callback = Speed()
    callback.on_train_start(trainer, None)
    trained(callback, clock, [(0, 1), (0, 1)], trainer)
    getattr(callback, between)(trainer, None, *([{}] if between == "on_save_checkpoint" else []))
    module = trained(callback, clock, [(100, 1), (1, 1)], trainer)
    assert module.figures["train/data_wait"] == pytest.approx(1 / 3)
