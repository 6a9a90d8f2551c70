"""Data that is read as it comes: what is read, by whom, in which order, and from where again."""

import io
import itertools
import json
import tarfile

import datasets
import pytest
import torch
from PIL import Image

from sdg.data.hub_source import Hub
from sdg.data.loader import Resumable
from sdg.data.sources import Example, Source
from sdg.data.stream import Stream
from sdg.data.streamed import HubData, TarData
from sdg.data.tar_source import Tars
from sdg.errors import UserError


def picture(value, kind="PNG"):
    file = io.BytesIO()
    Image.new("L", (8, 8), value).save(file, kind)
    return file.getvalue()


def values(batch):
    """The grey values that pictures were made with."""
    return ((batch["image"][:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


class Numbers(Source):
    """Pictures 0, 1, … in parts of `of` each.

    Every one remembers whether it was decoded only through its value.
    """

    def __init__(self, count, of):
        self.parts, self.of, self.count = [str(k) for k in range(count // of)], of, count

    def examples(self, part):
        for i in range(int(part) * self.of, (int(part) + 1) * self.of):
            yield Example(picture(i), [f"number {i}"], str(i))

    def split(self, held_out):
        raise NotImplementedError


def stream(source, size=24, batch_size=4, rank=0, world=1, **options):
    made = Stream(source, size, 8, batch_size, **{"buffer": 5} | options)
    made.rank, made.world = rank, world
    return made


def loader(made, workers=0, epoch=0):
    return Resumable(
        made, lambda: epoch, batch_size=None, num_workers=workers, collate_fn=lambda batch: batch
    )


@pytest.mark.parametrize("parts", [12, 2])
@pytest.mark.parametrize("world, workers", [(1, 0), (1, 2), (2, 2), (3, 1)])
def test_readers_share_the_examples_of_an_epoch(parts, world, workers):
    """No example comes twice, none is left out.

    That is so however many read, and whether there are parts for all of them.
    """
    source = Numbers(48, 48 // parts)
    found = [
        value
        for rank in range(world)
        for batch in loader(stream(source, 48, 4, rank, world), workers)
        for value in values(batch)
    ]
    assert sorted(found) == list(range(48)) and found != list(range(48))


def test_each_epoch_has_an_order_of_its_own_and_the_same_again():
    source = Numbers(48, 6)

    def order(epoch=0, **options):
        return [values(batch) for batch in loader(stream(source, **options), epoch=epoch)]

    first = order(0)
    assert order(1) != first == order(0)
    assert order(seed=1) != first


@pytest.mark.parametrize("workers", [0, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("done", [1, 4, 5])
def test_a_resumed_epoch_goes_on_at_the_next_batch(workers, done):
    source = Numbers(48, 6)
    whole = [values(batch) for batch in loader(stream(source, 32), workers)]
    first = loader(stream(source, 32), workers)
    begun = list(itertools.islice(first, done))
    again = loader(stream(source, 32), workers)
    again.load_state_dict(first.state_dict())
    rest = [values(batch) for batch in again]
    assert [values(batch) for batch in begun] + rest == whole and len(whole) == len(again) == 8
    assert [values(batch) for batch in again] == whole  # the next epoch is whole


def test_a_finished_epoch_is_followed_by_a_whole_one():
    first = loader(stream(Numbers(48, 6)))
    assert len(list(first)) == 6
    again = loader(stream(Numbers(48, 6)))
    again.load_state_dict(first.state_dict())
    assert len(list(again)) == 6


def test_what_cannot_be_read_is_named_and_skipped_up_to_a_limit(capsys):
    class Broken(Numbers):
        def examples(self, part):
            for example in super().examples(part):
                yield example._replace(file=b"no image") if int(example.name) % 10 == 3 else example

    found = [value for batch in loader(stream(Broken(48, 6), 40)) for value in values(batch)]
    assert (
        len(found) == 40
        and not any(value % 10 == 3 for value in found)
        and "skipped: 13" in capsys.readouterr().err
    )
    with pytest.raises(UserError, match="data.max_broken=1"):
        list(loader(stream(Broken(48, 6), 40, max_broken=1)))


def test_a_broken_file_counts_once_however_often_it_is_met(capsys):
    class Broken(Numbers):
        def examples(self, part):
            for example in super().examples(part):
                yield example._replace(file=b"no image") if example.name == "3" else example

    made = stream(Broken(12, 6), 200, max_broken=1)
    for epoch in range(2):  # and in the next one it is known
        assert len(list(loader(made, epoch=epoch))) == 50
    assert capsys.readouterr().err.count("skipped: 3") == 1 and made.count == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_share_the_limit_and_it_is_told_at_the_end(shards, workers, capfd):
    for k in range(3):
        with tarfile.open(shards / f"shard-{k:03d}.tar", "a") as tar:
            tar.addfile(tarfile.TarInfo(f"broken{k}.png"))
    options = {"size": 40, "held_out": 9, "resolution": 8, "batch_size": 4, "num_workers": workers}
    data = TarData(f"{shards}/*.tar", **options)
    data.setup("fit")
    assert len(data.held_out) == 4 and len(list(data.train_dataloader())) == 10
    data.print_skipped()
    said = capfd.readouterr()
    assert [f"broken{k}" in said.err for k in range(3)] == [
        True
    ] * 3 and said.out == "3 files could not be used and were skipped; they are named above.\n"
    data = TarData(f"{shards}/*.tar", max_broken=2, **options)
    data.setup("fit")
    with pytest.raises(UserError, match="it is one of 3, and data.max_broken=2"):
        list(data.train_dataloader())
    with pytest.raises(UserError, match="broken0 .*it is one of 1, and data.max_broken=0"):
        TarData(f"{shards}/*.tar", max_broken=0, **options).setup("fit")


def test_a_reader_that_meets_broken_files_alone_ends():
    class Broken(Numbers):
        def examples(self, part):
            yield from (example._replace(file=b"") for example in super().examples(part))

    with pytest.raises(UserError, match="none of the 6 images that a reader meets"):
        list(loader(stream(Broken(6, 6), 8, max_broken=10)))


def test_another_batch_size_goes_on_at_the_same_image():
    first = loader(stream(Numbers(48, 6), 32, 4))
    list(itertools.islice(first, 3))
    again = loader(stream(Numbers(48, 6), 32, 2))
    again.load_state_dict(first.state_dict())
    assert [value for batch in again for value in values(batch)] == [
        value for batch in loader(stream(Numbers(48, 6), 32, 4)) for value in values(batch)
    ][12:]


# --- tar files ----------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path):
    for k in range(3):
        with tarfile.open(tmp_path / f"shard-{k:03d}.tar", "w") as tar:
            for i in range(4 * k, 4 * k + 4):
                files = {
                    f"{i:04d}.{'jpg' if i % 2 else 'png'}": picture(
                        10 * i, "JPEG" if i % 2 else "PNG"
                    )
                }
                files |= (
                    {f"{i:04d}.txt": f"number {i}\nno. {i}\n".encode()}
                    if i % 3
                    else {f"{i:04d}.json": json.dumps({"caption": f"number {i}"}).encode()}
                )
                for name, content in files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return tmp_path


def test_tar_files_give_images_and_captions_and_hold_the_first_one_out(shards):
    data = TarData(
        f"{shards}/shard-{{000..002}}.tar",
        size=8,
        held_out=3,
        resolution=8,
        captions=True,
        batch_size=4,
        num_workers=0,
    )
    data.setup("fit")
    assert [data.held_out.caption(i) for i in range(3)] == [
        "number 0",
        "number 1",
        "number 2",
    ] and data.held_out.caption(1, 1) == "no. 1"
    torch.testing.assert_close(
        data.held_out.__getitems__([0, 2])["image"],
        torch.tensor([0.0, 20.0]).div(127.5).sub(1).view(2, 1, 1, 1).expand(2, 3, 8, 8),
    )
    batches = list(data.train_dataloader())
    found = {
        value: caption
        for batch in batches
        for value, caption in zip(values(batch), batch["caption"], strict=True)
    }
    assert sorted(found) == [10 * i for i in range(4, 12)] and all(
        caption in (f"number {value // 10}", f"no. {value // 10}")
        for value, caption in found.items()
    )
    apart = TarData(
        [f"{shards}/shard-00[01].tar", f"{shards}/shard-000.tar"][1],
        f"{shards}/*2.tar",
        size=4,
        held_out=9,
        resolution=8,
        batch_size=4,
    )
    apart.setup("fit")
    assert (
        len(apart.held_out) == 4
        and len(apart.train.source.parts) == 1
        and apart.identity() != data.identity()
    )


def test_shards_that_are_not_there_or_damaged_are_named(shards):
    for urls, message in (
        (f"{shards}/shard-{{000..004}}.tar", "no shard .*shard-003.tar"),
        (f"{shards}/none*.tar", "no shard"),
        ([], "no shard"),
    ):
        with pytest.raises(UserError, match=message):
            Tars(urls)
    with pytest.raises(UserError, match="is one shard; the first is held out"):
        Tars(f"{shards}/shard-000.tar").split(1)
    (shards / "shard-001.tar").write_bytes(b"x" * 5000)
    with pytest.raises(UserError, match="shard-001.tar cannot be read"):
        list(Tars(f"{shards}/shard-001.tar").examples(f"{shards}/shard-001.tar"))


def test_our_own_shards_are_read_back(run, tiny, tmp_path):
    run("sample.py", *tiny, "images=shards", "num_samples=8", "batch_size=4")
    tars = sorted((tmp_path / "run" / "shards").glob("*.tar"))
    assert (
        len(
            list(
                itertools.chain.from_iterable(
                    map(Tars([str(tar) for tar in tars]).examples, map(str, tars))
                )
            )
        )
        == 8
    )


# --- the hub's data sets ------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("streaming", [True, False])
def test_a_data_set_of_the_hub_gives_images_and_captions(tmp_path, streaming, workers):
    rows = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": picture(10 * i), "path": None} for i in range(12)],
            "text": [f"number {i}" for i in range(12)],
        },
        features=datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")}),
    )
    for k in range(3):
        rows.shard(3, k, contiguous=True).to_parquet(tmp_path / f"{k}.parquet")
    options = {
        "data_files": [str(tmp_path / f"{k}.parquet") for k in range(3)],
        "cache_dir": str(tmp_path / "cache"),
    }
    data = HubData(
        "parquet",
        streaming=streaming,
        options=options,
        size=10,
        held_out=2,
        resolution=8,
        captions=True,
        batch_size=5 if workers == 0 else 1,
        num_workers=workers,
    )
    data.setup("fit")
    assert len(data.held_out) == 2
    found = {
        value: caption
        for batch in data.train_dataloader()
        for value, caption in zip(values(batch), batch["caption"], strict=True)
    }
    held = set(values(data.held_out.__getitems__([0, 1])))
    # Readers whose parts are small begin them again before others have ended theirs.
    assert (
        set(found) | held <= {10 * i for i in range(12)}
        and len(found) >= (10 if workers == 0 else 8)
        and not set(found) & held
        and all(caption == f"number {value // 10}" for value, caption in found.items())
    )
    assert len(Hub("parquet", streaming=streaming, **options).first(13)) == 12
    with pytest.raises(
        UserError, match="data.held_out=13, but parquet has 12 images in all; lower it"
    ):
        Hub("parquet", streaming=streaming, **options).split(13)
    with pytest.raises(UserError, match="has no column of images; it has: text"):
        Hub("parquet", streaming=streaming, **options | {"columns": ["text"]})


def test_rows_that_name_a_file_and_rows_without_an_image_or_a_caption(
    tmp_path, capsys, monkeypatch
):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(picture(50))
    rows = [
        {"bytes": None, "path": str(tmp_path / "a.png")},
        None,
        {"bytes": None, "path": str(tmp_path / "gone.png")},
        {"bytes": picture(70), "path": None},
        {"bytes": picture(90), "path": None},
    ]
    made = datasets.Dataset.from_dict(
        {"image": rows, "text": ["one", "two", "three", None, "five"]},
        features=datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")}),
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: made)
    source = Hub("made", streaming=False)
    found = {
        value: said
        for batch in loader(stream(source, 8, 2, captions=True))
        for value, said in zip(values(batch), batch["caption"], strict=True)
    }
    assert found == {50: "one", 90: "five"} and capsys.readouterr().err.count("skipped") == 3


def test_a_data_set_that_cannot_be_had_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="data.name=nobody-has/this: it cannot be loaded"):
        Hub("nobody-has/this")
