"""How far a run is: a bar on a terminal, lines in a log."""

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Bar"]

EVERY = 30.0  # seconds between two lines of a log


class Bar(Progress):
    """Steps done of all, the time left and the latest figures.

    They are a line now and then where a bar cannot move, in files and the logs of clusters.

    Arguments:
        word: what is counted.
    """

    def __init__(self, word: str):
        super().__init__(
            TextColumn(word),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        self.word, self.printed = word, time.monotonic()  # when the last line was

    def begin(self, total: int, completed: int, shown: bool) -> None:
        """Starts, with so many steps done already; `shown` by one process of several."""
        moves = self.console.is_terminal or self.console.is_jupyter
        self.disable, self.lines = not (shown and moves), shown and not moves
        self.task = self.add_task(self.word, total=total, completed=completed, figures="")
        self.start()

    def reach(self, completed: int, figures: str = "", notable: bool = False) -> None:
        """Moves to this step; a notable one has a line of its own, above the bar if there is one.

        Arguments:
            figures: the latest, as text.
        """
        self.update(self.task, completed=completed, figures=figures)
        due = self.lines and time.monotonic() - self.printed > EVERY
        if not due and not notable:
            return
        self.printed, task = time.monotonic(), self.tasks[self.task]
        remaining = task.time_remaining if due else None
        left = "" if remaining is None else f", {remaining / 60:.0f} min left"
        text = f"{self.word} {completed}/{task.total:.0f}{left}  {figures}".rstrip()
        if self.lines:
            print(text, flush=True)
        elif not self.disable:
            self.console.print(text, markup=False, highlight=False)
