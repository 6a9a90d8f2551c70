"""A run's folder, whenever its process is killed."""

import shutil

import pytest

from sdg.errors import UserError
from sdg.evaluation import store as store_module
from sdg.evaluation.store import SampleStore


def test_samples_that_were_removed_meanwhile_are_missed(tmp_path):
    store = SampleStore(tmp_path / "run", 2, 1, "mark")
    store.begin(False)
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run/rows").mkdir(parents=True)
    (tmp_path / "run/rows/00001.jsonl").write_text('{"file": "images/00001.png"}\n')
    with pytest.raises(UserError, match="lost 1 of its 2 samples while the run was at work"):
        store.read_images([1])


class Killed(BaseException):
    """What ends the process."""


@pytest.mark.parametrize("at", range(4))
def test_a_run_killed_while_it_clears_its_folder_can_begin_again(tmp_path, monkeypatch, at):
    store = SampleStore(tmp_path, 2, 1, "mark")
    store.begin(False)
    for index in range(2):
        (tmp_path / "rows" / f"{index:05d}.jsonl").write_text("{}\n")
        (tmp_path / "images" / f"{index:05d}.png").write_text("a picture")
    steps = iter(range(100))

    def killed(function):
        def called(*arguments, **options):
            if next(steps) == at:
                raise Killed
            return function(*arguments, **options)

        return called

    monkeypatch.setattr(store_module.Path, "unlink", killed(store_module.Path.unlink))
    monkeypatch.setattr(store_module.shutil, "rmtree", killed(store_module.shutil.rmtree))
    with pytest.raises(Killed):
        store.begin(True)
    monkeypatch.undo()
    again = SampleStore(tmp_path, 2, 1, "mark")
    again.begin(False)
    drawn = {file.stem for file in again.row_files(tmp_path)}
    pictures = {file.stem for file in (tmp_path / "images").iterdir()}
    assert drawn <= pictures and len(again.missing()) == 2 - len(drawn)
