"""The first loss that is no number is found, and its images are named."""

import re
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from sdg.data.shapes_data import ShapesData
from sdg.training.checkpoints import (
    WholeCheckpoints,
    checkpoints_in,
    is_whole,
    remove_superseded,
)
from sdg.training.finite import EVERY, FirstNonFinite, Place


def on_a_gpu(value: float) -> SimpleNamespace:
    """A loss that says it lies on a GPU."""
    loss = torch.tensor(value)
    return SimpleNamespace(device=torch.device("cuda"), detach=lambda: loss)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_on_a_cpu_a_wrong_loss_is_found_at_its_step(wrong):
    first = FirstNonFinite()
    assert first.add(torch.tensor(1e30), Place(0, 0, 0)) is None
    assert first.add(torch.tensor(wrong), Place(1, 0, 1)) == Place(1, 0, 1)


def test_on_a_gpu_losses_are_read_every_so_many_steps_and_the_first_is_named():
    first = FirstNonFinite()
    values = [1.0] * EVERY
    values[3] = values[7] = float("nan")
    read = [first.add(on_a_gpu(value), Place(k, 0, k)) for k, value in enumerate(values)]
    assert read == [None] * (EVERY - 1) + [Place(3, 0, 3)]
    assert first.add(on_a_gpu(float("nan")), Place(EVERY, 0, EVERY)) is None
    assert first.first_wrong() == Place(EVERY, 0, EVERY) and first.first_wrong() is None


def test_a_batch_is_named_by_the_images_that_it_holds():
    data = ShapesData(size=40, held_out=8, cache=None, batch_size=8, num_workers=0)
    data.setup("fit")
    batches = list(data.train_dataloader())
    for k, batch in enumerate(batches):
        words = data.describe_batch(0, k)
        named = [int(number) for number in re.findall(r"\d+", words.partition("images ")[2])]
        assert words.startswith(f"batch {k} of epoch 0, images ") and len(named) == 8
        assert torch.equal(data.train.__getitems__(named)["image"], batch["image"])
    assert data.describe_batch(1, 0) != data.describe_batch(0, 0).replace("epoch 0", "epoch 1")


def test_a_checkpoint_is_written_beside_its_place_and_known_to_be_whole(tmp_path):
    file = tmp_path / "new" / "last.ckpt"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "last.ckpt.123.part").write_bytes(b"of a killed run")
    WholeCheckpoints().save_checkpoint({"global_step": 3, "a": torch.ones(5)}, file)
    assert checkpoints_in(file.parent) == [file] == list(file.parent.iterdir())
    assert is_whole(file)
    content = bytearray(file.read_bytes())
    content[content.index(torch.ones(5).numpy().tobytes())] ^= 1
    file.write_bytes(content)
    assert not is_whole(file)


def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    file = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"global_step": 3}, file)
    with pytest.raises(Exception, match="pickle"):
        WholeCheckpoints().save_checkpoint({"global_step": lambda: 4}, file)
    assert torch.load(file, weights_only=True) == {"global_step": 3}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"save_top_k": 1}, ["last.ckpt", "mine.ckpt", "step=10.ckpt"]),
        ({"save_top_k": -1}, ["last.ckpt", "mine.ckpt", "step=10.ckpt", "step=4.ckpt"]),
        (
            {"save_top_k": 1, "monitor": "loss"},
            ["last.ckpt", "mine.ckpt", "step=10.ckpt", "step=4.ckpt"],
        ),
    ],
)
def test_a_finished_run_keeps_the_checkpoint_of_its_last_step_only(tmp_path, options, left):
    for name in ("step=10.ckpt", "step=4.ckpt", "last.ckpt", "mine.ckpt"):
        (tmp_path / name).touch()
    callback = ModelCheckpoint(tmp_path, filename="{step}", **options)
    trainer = pl.Trainer(logger=False, accelerator="cpu", callbacks=[callback])
    remove_superseded(trainer)
    assert sorted(file.name for file in tmp_path.iterdir()) == left


def test_checkpoints_of_no_folder_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("step=10.ckpt", "step=4.ckpt"):
        (tmp_path / name).touch()
    callback = ModelCheckpoint(filename="{step}", save_top_k=1)
    remove_superseded(pl.Trainer(logger=False, accelerator="cpu", callbacks=[callback]))
    assert len(list(tmp_path.iterdir())) == 2
