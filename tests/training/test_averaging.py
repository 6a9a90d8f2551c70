"""The average of the weights against its closed form."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from sdg.errors import UserError
from sdg.training.averaging import EMA


class Counter(pl.LightningModule):
    """Whose weight is 1, 2, 3, … after each step, as are a statistic and a count."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("statistic", torch.zeros(()))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]), persistent=False)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def training_step(self, batch, index):
        self.statistic += 1
        self.count += 1
        return -self.weight

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1.0)


def averaged(decay, steps):
    module = Counter()
    pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=[EMA(decay)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, DataLoader(torch.zeros(steps), 1))
    assert module.mask.tolist() == [0, -torch.inf]  # no NaN, the mean of infinities
    assert module.count == steps and module.statistic == module.weight
    return float(module.weight)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("steps", [1, 5, 40])
def test_the_average_remembers_a_growing_part_of_the_run(decay, steps):
    mean = 1.0  # the first update takes the weights as they are
    for n in range(1, steps):
        d = min(decay, (1 + n) / (10 + n))
        mean = d * mean + (1 - d) * (n + 1)
    assert averaged(decay, steps) == pytest.approx(mean, rel=1e-5)


def test_a_short_run_ends_near_its_end():
    assert averaged(0.999, 100) > 80  # a constant decay leaves 5 of the 100 steps


@pytest.mark.parametrize("decay", [1.5, -0.1, "much"])
def test_a_decay_is_a_share(decay):
    with pytest.raises(UserError, match="callbacks.ema.decay must be"):
        EMA(decay)
