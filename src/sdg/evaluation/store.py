"""The samples of a run that are drawn already: one that was killed goes on where it stopped."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from torch import Tensor

from sdg.errors import UserError
from sdg.evaluation.batches import Batches
from sdg.io.files import write_whole
from sdg.report.pictures import Pictures

__all__ = ["CODE", "SampleStore"]

CODE = "+code:"  # begins the part of a fingerprint that code of the user's own has


class SampleStore:
    """The batches of a run and which of them are done.

    `rows/00064.jsonl` holds the rows of the batch that starts with sample 64. That file appears
    whole, after the batch's images: whatever else a killed run left is drawn again.

    Arguments:
        folder: of the run.
        size: number of samples.
        batch_size: of all batches but the last. A resumed run has the same batches, so that it
            draws the same bytes.
        fingerprint: the run's; samples of a run with another are not these. What follows `CODE`
            is the user's own code.
        kind: of `sdg.report.pictures`: how images are stored.
    """

    def __init__(
        self, folder: Path, size: int, batch_size: int, fingerprint: str, kind: str = "folder"
    ):
        self.folder, self.fingerprint = Path(folder), fingerprint
        self.pictures = Pictures(Path(folder), kind)
        self.batches = Batches([range(-(-size // batch_size))], size, batch_size)

    def begin(self, anew: bool) -> None:
        """Makes the folder ready.

        Arguments:
            anew: forget what was drawn there.

        Raises:
            UserError: the folder holds pictures of another run, or of none.
        """
        rows, images = self.folder / "rows", self.pictures.place
        if self.recorded_file.is_file():
            if anew or not (self.is_own() or any(self.row_files(self.folder))):
                self.clear()
            elif not self.is_own():
                raise UserError(
                    f"{self.folder} holds {self.others()}; "
                    "rerun=true replaces them, hydra.run.dir=FOLDER puts these elsewhere."
                )
        elif any(images.glob("*")):
            raise UserError(
                f"{images} holds files that are not of a sampling run; set hydra.run.dir to "
                "another folder."
            )
        for part in (rows, images):
            part.mkdir(parents=True, exist_ok=True)
        for torn in rows.glob("*.*.*"):  # what a killed run was writing
            torn.unlink()
        self.forget_lost()
        if not self.recorded_file.is_file():
            own = {"fingerprint": self.fingerprint, "batch_size": self.batches.batch_size}
            write_whole(self.recorded_file, json.dumps(own))

    def forget_lost(self) -> None:
        """Forgets the batches of which a picture was removed, or the rows were changed."""
        lost = [file for file in self.row_files(self.folder) if not self.is_kept(file)]
        for file in lost:
            file.unlink()
        if lost:
            print(f"{len(lost)} batches in {self.folder} are not whole any more; drawn again.")

    def is_kept(self, file: Path) -> bool:
        """Whether the rows of a batch can be read, and its pictures are there."""
        try:
            rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            return all(self.pictures.has(row["file"]) for row in rows)
        except (ValueError, LookupError, TypeError):
            return False

    def clear(self) -> None:
        """Removes what was drawn; whenever it is killed, the folder is still a run's."""
        for file in self.recorded_file.parent.iterdir():
            if file.is_dir():
                shutil.rmtree(file)
            elif file != self.recorded_file:
                file.unlink()
        shutil.rmtree(self.pictures.place, ignore_errors=True)
        self.recorded_file.unlink()

    @property
    def recorded_file(self) -> Path:
        """The file that holds the fingerprint of the run whose samples these are."""
        return self.folder / "rows" / "run.json"

    @staticmethod
    def batch_size_of(folder: Path) -> int | None:
        """How many samples share a batch in the folder of any run; None where it does not say."""
        file = folder / "rows" / "run.json"
        if not file.is_file():
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8")).get("batch_size")
        except (ValueError, AttributeError):  # it was changed
            return None

    def is_own(self) -> bool:
        """Whether the folder's samples, if there are any, are this run's."""
        return self.recorded_fingerprint() == self.fingerprint

    def recorded_fingerprint(self) -> str:
        """The fingerprint of the run whose samples these are; empty where its file was changed."""
        try:
            return str(json.loads(self.recorded_file.read_text(encoding="utf-8"))["fingerprint"])
        except (ValueError, LookupError, TypeError):
            return ""

    def others(self) -> str:
        """What the samples are that are not this run's, in words."""
        theirs, ours = (
            text.partition(CODE)[0] for text in (self.recorded_fingerprint(), self.fingerprint)
        )
        if theirs == ours:
            return "samples that code of your own drew before it was changed"
        return (
            "the samples of another run, whose settings, prompts, weights or precision were others"
        )

    def finished(self) -> bool:
        """Whether the folder holds all samples of this run."""
        return self.recorded_file.is_file() and self.is_own() and not self.missing()

    def missing(self) -> Batches:
        """The batches that are still to be drawn."""
        size, each = self.batches.size, self.batches.batch_size
        count, runs, after = len(self.batches), [], 0
        starts = [int(file.stem) for file in self.row_files(self.folder)]
        for start in sorted(start for start in starts if start % each == 0 and start < size):
            runs.append(range(after, start // each))
            after = start // each + 1
        return Batches([*runs, range(after, count)], size, each)

    @staticmethod
    def row_files(folder: Path) -> Iterator[Path]:
        """The files of rows of any run's finished batches."""
        return (file for file in (folder / "rows").glob("*.jsonl") if file.stem.isdecimal())

    def add(self, images: Tensor, rows: Sequence[dict]) -> None:
        """Writes a batch.

        Arguments:
            images: 8-bit, (B, 3, H, W).
            rows: `index` and `seed` of each, what it was asked for (`condition`), and its `cost`.
        """
        files = self.pictures.write(images, [without(row, "cost") for row in rows])
        rows = [
            without(row, "condition") | {"file": file}
            for row, file in zip(rows, files, strict=True)
        ]
        write_whole(
            self.file([row["index"] for row in rows]),
            "".join(json.dumps(row) + "\n" for row in rows),
        )

    def rows(self) -> list[dict]:
        """One for each sample that is drawn, in order."""
        files = (self.file(batch) for batch in self.batches)
        return [
            json.loads(line)
            for file in files
            if file.is_file()
            for line in file.read_text(encoding="utf-8").splitlines()
        ]

    @staticmethod
    def count(folder: Path) -> int:
        """How many samples are drawn in the folder of any run."""
        files = SampleStore.row_files(folder)
        return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)

    def read_images(self, indices: Sequence[int]) -> Tensor:
        """These samples as they were written, (N, 3, H, W) in [-1, 1]."""
        return self.pictures.read_images([self.files[i] for i in indices])

    @cached_property
    def files(self) -> list[str]:
        """Of every sample, once all are drawn.

        Raises:
            UserError: some are gone.
        """
        files = [row["file"] for row in self.rows()]
        if len(files) < self.batches.size:
            raise UserError(
                f"{self.folder} has lost {self.batches.size - len(files)} of its "
                f"{self.batches.size} samples while the run was at work; the same command draws "
                "them again."
            )
        return files

    def rank_results(self, rank: int) -> Path:
        """Where a process notes what it read off its part of the samples."""
        return self.folder / "rows" / f"read-{rank}.json"

    def file(self, batch: Sequence[int]) -> Path:
        return self.folder / "rows" / f"{batch[0]:05d}.jsonl"


def without(row: Mapping, key: str) -> dict:
    """A row of the table without one of its columns."""
    return {name: value for name, value in row.items() if name != key}
