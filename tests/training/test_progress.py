"""Long work says how far it is, on a terminal or in a log."""

import io

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console

from sdg import progress
from sdg.progress import Bar
from sdg.training.progress import StepProgress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def bar(terminal: bool) -> Bar:
    made = Bar("step")
    made.live.console = Console(file=io.StringIO(), force_terminal=terminal)
    return made


def test_a_log_gets_a_line_now_and_then_with_the_newest_figures(clock, capsys):
    told = bar(terminal=False)
    told.begin(100, 10, shown=True)
    for step in range(11, 101):
        clock[0] += 1.0
        told.reach(step, f"loss {step}")
    told.stop()
    assert [line.split(",")[0].split("  ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "step 41/100",
        "step 72/100",
    ]


def test_a_log_says_the_time_that_is_left(clock, capsys):
    told = bar(terminal=False)
    told.get_time = lambda: clock[0]
    told.begin(400, 0, shown=True)
    for step in range(1, 32):
        clock[0] += 1.0
        told.reach(step)
    assert capsys.readouterr().out == "step 31/400, 6 min left\n"


@pytest.mark.parametrize("terminal, shown", [(True, True), (True, False), (False, False)])
def test_a_terminal_gets_a_bar_and_other_processes_say_nothing(clock, capsys, terminal, shown):
    told = bar(terminal)
    told.begin(100, 0, shown)
    clock[0] += 40.0
    told.reach(50, "loss 1")
    told.stop()
    assert capsys.readouterr().out == "" and ("50/100" in told.console.file.getvalue()) == shown


@pytest.mark.parametrize("terminal", [True, False])
def test_notable_steps_have_a_line_of_their_own(clock, capsys, terminal):
    told = bar(terminal)
    told.begin(5, 0, shown=True)
    for step in range(1, 6):
        told.reach(step, f"loss {step}", notable=step in (1, 5))
    told.stop()
    text = told.console.file.getvalue() if terminal else capsys.readouterr().out
    assert "step 1/5  loss 1\n" in text and "step 5/5  loss 5\n" in text
    assert "step 3/5" not in text


class Validated(pl.LightningModule):
    """One weight, which is trained and validated."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch):
        return self.weight

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(range(3))


@pytest.mark.parametrize("held_out, of", [(range(3), "/3"), (Stream(), "")])
def test_a_validation_says_how_far_it_is(tmp_path, monkeypatch, capsys, held_out, of):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    trainer = pl.Trainer(
        max_steps=2,
        accelerator="cpu",
        callbacks=[StepProgress()],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    loaders = [torch.utils.data.DataLoader(data) for data in (range(2), held_out)]
    trainer.fit(Validated(), *loaders)
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines() if "step" in line]
    said = [(line[0].split(",")[0], line[-1]) for line in lines if "validation" in line[-1]]
    assert said == [("step 2/2", f"validation {number}{of}") for number in (1, 2, 3)]


def test_a_validation_without_a_training_says_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[StepProgress()],
        logger=False,
        default_root_dir=tmp_path,
    )
    trainer.validate(Validated(), torch.utils.data.DataLoader(range(3)), verbose=False)
    assert "validation" not in capsys.readouterr().out
