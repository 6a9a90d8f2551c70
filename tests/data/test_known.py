"""CIFAR-10, CelebA and LSUN, in small files of the same layout."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from sdg.data.torchvision_data import TorchvisionData
from sdg.errors import UserError

NAMES = [*"abcdefgh", "airplane", "truck"]


def made(*arguments, **options):
    data = TorchvisionData(*arguments, **options, batch_size=1)
    data.setup("fit")
    return data


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for k, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        (folder / name).write_bytes(
            pickle.dumps({"data": np.full((4, 3072), 10 * k, np.uint8), "labels": [k, k + 1, 8, 9]})
        )
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}))
    return tmp_path


def test_cifar10_has_its_own_split_classes_and_captions(cifar10):
    data = TorchvisionData("cifar10", cifar10, captions=True, batch_size=2)
    data.prepare_data()
    data.setup("fit")
    assert (len(data.train), len(data.held_out)) == (20, 4)
    batch = data.train.__getitems__([0, 5])
    torch.testing.assert_close(batch["image"][1], torch.full((3, 32, 32), 10 / 127.5 - 1))
    assert batch["caption"] == ["a photo of an a", "a photo of a c"] and batch[
        "factors"
    ].tolist() == [[0], [2]]
    assert (
        data.held_out.class_name(3) == "truck"
        and data.held_out.caption(2) == "a photo of an airplane"
        and len(data.captions) == 24
    )
    assert list(data.held_out.classes["class"]) == NAMES


def test_training_images_are_mirrored_and_held_out_ones_are_not(cifar10):
    ramp = np.tile(np.arange(32, dtype=np.uint8), (4, 3, 32, 1)).reshape(4, 3072)
    for name in ("data_batch_1", "test_batch"):
        (cifar10 / "cifar-10-batches-py" / name).write_bytes(
            pickle.dumps({"data": ramp, "labels": [0] * 4})
        )
    data = made("cifar10", cifar10, flip=True)
    torch.manual_seed(0)
    rising = [
        bool(data.train[0]["image"][0, 0, 0] < data.train[0]["image"][0, 0, -1]) for _ in range(20)
    ]
    assert {True, False} == set(rising) and all(
        data.held_out[0]["image"][0, 0, 0] < 0
        and data.held_out[0]["image"][0, 0, 0] < data.held_out[0]["image"][0, 0, -1]
        for _ in range(20)
    )


def test_celebas_attributes_become_captions(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CelebA, "_check_integrity", lambda self: True)
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(5)]
    for name in names:
        Image.new("RGB", (178, 218), "red").save(folder / "img_align_celeba" / name)
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{name} {int(i > 2)}\n" for i, name in enumerate(names))
    )
    (folder / "list_attr_celeba.txt").write_text(
        "4\nWavy_Hair Smiling\n"
        + "".join(f"{name} {1 if i % 2 else -1} 1\n" for i, name in enumerate(names))
    )
    (folder / "identity_CelebA.txt").write_text("".join(f"{name} 1\n" for name in names))
    (folder / "list_bbox_celeba.txt").write_text(
        "4\nx y w h\n" + "".join(f"{name} 0 0 1 1\n" for name in names)
    )
    (folder / "list_landmarks_align_celeba.txt").write_text(
        "4\n"
        + " ".join("abcdefghij")
        + "\n"
        + "".join(f"{name}" + " 1" * 10 + "\n" for name in names)
    )
    data = made("celeba", tmp_path, captions=True, resolution=64)
    assert (len(data.train), len(data.held_out), data.train[0]["image"].shape) == (
        3,
        2,
        (3, 64, 64),
    )
    assert data.captions == [
        f"a photo of a person, {'wavy hair, ' if i % 2 else ''}smiling" for i in range(5)
    ]


def test_lsun_reads_its_database(tmp_path, monkeypatch):
    lmdb = pytest.importorskip("lmdb")
    monkeypatch.chdir(tmp_path)  # torchvision leaves a list of keys in the working directory
    for part, count in (("train", 3), ("val", 1)):
        with (
            lmdb.open(str(tmp_path / f"bedroom_{part}_lmdb"), map_size=2**20) as database,
            database.begin(write=True) as transaction,
        ):
            for i in range(count):
                file = tmp_path / "a.webp"
                Image.new("RGB", (40, 30), "blue").save(file)
                transaction.put(f"key{i}".encode(), file.read_bytes())
    data = made("lsun", tmp_path, resolution=16)
    assert len(pickle.dumps(data.train)) < 5000 and pickle.loads(pickle.dumps(data.train))[1][
        "image"
    ].shape == (3, 16, 16)  # as workers get it
    assert (len(data.train), len(data.held_out)) == (3, 1) and data.train.__getitems__([0, 2])[
        "image"
    ].shape == (2, 3, 16, 16)
    del data
    with pytest.raises(UserError, match="data=lsun has no captions"):
        made("lsun", tmp_path, captions=True)
    with pytest.raises(UserError, match="church_outdoor_train_lmdb from the LSUN project"):
        made("lsun", tmp_path, category="church_outdoor")
    assert not list(tmp_path.glob("_cache*"))


def test_a_broken_image_of_a_database_is_named_skipped_and_counted(tmp_path, capsys):
    lmdb = pytest.importorskip("lmdb")
    for part in ("train", "val"):
        with (
            lmdb.open(str(tmp_path / f"bedroom_{part}_lmdb"), map_size=2**20) as database,
            database.begin(write=True) as transaction,
        ):
            for i in range(3):
                file = tmp_path / "a.webp"
                Image.new("RGB", (40, 30), (80 * i,) * 3).save(file, lossless=True)
                transaction.put(
                    f"key{i}".encode(),
                    file.read_bytes()[: 20 if (part, i) == ("train", 1) else None],
                )
    data = made("lsun", tmp_path, resolution=16)
    batch = data.train.__getitems__([0, 1, 2])["image"][:, 0, 0, 0]
    torch.testing.assert_close(batch, torch.tensor([0.0, 160.0, 160.0]) / 127.5 - 1)
    said = capsys.readouterr().err
    assert said.count("skipped: cannot read image key1 of lsun, training part: ") == 1
    data.print_skipped()
    assert (
        capsys.readouterr().out
        == "lsun, training part: 1 of 3 images could not be read and were skipped: key1.\n"
    )
    del data  # lmdb opens a database once in a process
    with pytest.raises(UserError, match="key1 of lsun, training part: .*data.max_broken=1"):
        made("lsun", tmp_path, resolution=16, max_broken=0).train[1]


@pytest.mark.parametrize("name", ["cifar10", "celeba"])
def test_what_is_not_there_is_said_with_the_remedy(tmp_path, name):
    with pytest.raises(
        UserError, match=f"data={name}: it is not whole under .* data.download=true fetches it"
    ):
        made(name, tmp_path)
