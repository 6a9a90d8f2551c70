"""How far a training run is."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["StepProgress"]


class StepProgress(ProgressBar):
    """One bar over all steps of the run, with the time left and the latest figures."""

    def __init__(self):
        super().__init__()
        self.bar = Progress(TextColumn("step"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[figures]}"))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.disable = not trainer.is_global_zero
        self.task = self.bar.add_task("step", total=trainer.estimated_stepping_batches, completed=trainer.global_step, figures="")
        self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args) -> None:
        figures = self.get_metrics(trainer, pl_module)
        shown = "  ".join(f"{name} {value:.3g}" for name, value in figures.items() if isinstance(value, float))
        self.bar.update(self.task, completed=trainer.global_step, figures=shown)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.bar.stop()

    def disable(self) -> None:
        self.bar.disable = True
