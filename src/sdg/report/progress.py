"""How far a run is: a bar on a terminal, lines in a log."""

import time

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Bar", "StepProgress"]

EVERY = 30.0  # seconds between two lines of a log
LITTLE = 0.5  # seconds between two readings of a run's figures


class Bar(Progress):
    """Steps done of all, the time left and the latest figures; as a line now and then where a bar cannot move, in files and the logs of clusters.

    Arguments:
        word: what is counted.
    """

    def __init__(self, word: str):
        super().__init__(TextColumn(word), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[figures]}"))
        self.word, self.said = word, time.monotonic()

    def begin(self, total: int, completed: int, shown: bool) -> None:
        """Starts, with so many steps done already; `shown` by one process of several."""
        moves = self.console.is_terminal or self.console.is_jupyter
        self.disable, self.lines = not (shown and moves), shown and not moves
        self.task = self.add_task(self.word, total=total, completed=completed, figures="")
        self.start()

    def reach(self, completed: int, figures: str = "") -> None:
        """Moves to this step."""
        self.update(self.task, completed=completed, figures=figures)
        if self.lines and time.monotonic() - self.said > EVERY:
            self.said, task = time.monotonic(), self.tasks[self.task]
            left = "" if task.time_remaining is None else f", {task.time_remaining / 60:.0f} min left"
            print(f"{self.word} {completed}/{task.total:.0f}{left}  {figures}".rstrip(), flush=True)


class StepProgress(ProgressBar):
    """One bar over all steps of the run."""

    def __init__(self):
        super().__init__()
        self.bar, self.figures, self.read = Bar("step"), "", 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.begin(trainer.estimated_stepping_batches, trainer.global_step, trainer.is_global_zero)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args) -> None:
        if time.monotonic() - self.read > LITTLE:  # reading a figure waits for the GPU
            figures, self.read = self.get_metrics(trainer, pl_module), time.monotonic()
            self.figures = "  ".join(f"{name} {value:.3g}" for name, value in figures.items() if isinstance(value, float))
        self.bar.reach(trainer.global_step, self.figures)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.bar.stop()

    def disable(self) -> None:
        self.bar.disable = True
