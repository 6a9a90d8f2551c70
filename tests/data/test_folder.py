"""What a folder says of its images, and which of them are held out.

And what becomes of those that cannot be read.
"""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from sdg.data.annotations import captions_of, labels_of
from sdg.data.folder import ImageFolder
from sdg.data.folder_data import FolderData
from sdg.data.image import load_image
from sdg.data.image_files import image_files
from sdg.errors import UserError


def make(folder, *names, size=(16, 16)):
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size, 10 * k).save(folder / name)
    return [folder / name for name in sorted(names)]


# --- captions -----------------------------------------------------------------------------------


def test_captions_stand_in_a_text_file_beside_an_image(tmp_path):
    files = make(tmp_path, "a.png", "b/c.jpg")
    (tmp_path / "a.txt").write_text("a red house\n\n a house  \n")
    (tmp_path / "b" / "c.txt").write_text("\ufeffa tree", encoding="utf-8")
    assert captions_of(tmp_path, files) == [["a red house", "a house"], ["a tree"]]


@pytest.mark.parametrize("column", ["text", "caption"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_captions_stand_in_metadata_as_in_hugging_faces_imagefolder(tmp_path, suffix, column):
    files = make(tmp_path, "a.png", "b/c.jpg")
    rows = [
        {"file_name": "a.png", column: "a house, red"},
        {"file_name": "b/c.jpg", column: "a tree"},
    ]
    text = (
        "".join(json.dumps(row) + "\n" for row in rows)
        if suffix == "jsonl"
        else f'file_name,{column}\na.png,"a house, red"\nb/c.jpg,a tree\n'
    )
    (tmp_path / f"metadata.{suffix}").write_text(text)
    assert captions_of(tmp_path, files) == [["a house, red"], ["a tree"]]


def test_metadata_of_a_sub_folder_names_files_from_there_and_may_list_several_captions(tmp_path):
    files = make(tmp_path, "train/a.png")
    (tmp_path / "train" / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "text": ["one", "two"]}\n'
    )
    assert captions_of(tmp_path, files) == [["one", "two"]]


def test_a_file_beside_the_image_goes_before_metadata(tmp_path):
    files = make(tmp_path, "a.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "far"}\n')
    (tmp_path / "a.txt").write_text("near")
    assert captions_of(tmp_path, files) == [["near"]]


def test_an_image_without_a_caption_is_named_and_the_remedy_too(tmp_path):
    files = make(tmp_path, "a.png", "b.png")
    (tmp_path / "a.txt").write_text("a house")
    with pytest.raises(
        UserError,
        match=r"1 of 2 images .* have no caption: b\.png; write it into b\.txt .*"
        r'\{"file_name": "b\.png", "text": "…"\}',
    ):
        captions_of(tmp_path, files)


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"text": "a"}', "row 1: a file_name and a text or caption"),
        (
            '{"file_name": "a.png", "label": 1}',
            "none of its rows has a text or caption.*columns are file_name, label",
        ),
        ("[1]", "row 1"),
        ("{", "cannot read .*metadata.jsonl"),
    ],
)
def test_metadata_that_cannot_be_read_is_refused_by_name(tmp_path, text, message):
    files = make(tmp_path, "a.png")
    (tmp_path / "metadata.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        captions_of(tmp_path, files)


def test_line_ends_within_a_caption_and_blank_captions(tmp_path):
    files = make(tmp_path, "a.png", "b.png")
    (tmp_path / "metadata.csv").write_text(
        'file_name,text\r\na.png,"a house\nby a\u2028lake"\r\nb.png,a tree\r\n',
        encoding="utf-8",
        newline="",
    )
    assert captions_of(tmp_path, files) == [["a house\nby a\u2028lake"], ["a tree"]]
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "text": "a\u2028house"}\n{"file_name": "b.png", "text": [" ", "a '
        'tree"]}\n',
        encoding="utf-8",
    )
    assert captions_of(tmp_path, files) == [["a\u2028house"], ["a tree"]]
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "text": "a house"}\n{"file_name": "b.png", "text": "  "}\n'
    )
    with pytest.raises(UserError, match="1 of 2 images .* have no caption: b.png"):
        captions_of(tmp_path, files)
    (tmp_path / "b.txt").write_bytes("un café".encode("latin-1"))
    with pytest.raises(UserError, match=r"b\.txt is not UTF-8"):
        captions_of(tmp_path, files)


def test_a_few_images_without_a_caption_are_left_out_and_told(tmp_path):
    make(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "b.txt").write_text("a house")
    with pytest.raises(
        UserError, match=r"2 of 3 images .* have no caption: a\.png, c\.png.*data\.max_broken=2"
    ):
        ImageFolder(tmp_path, 16, captions=True, max_broken=1)
    folder = ImageFolder(tmp_path, 16, captions=True, max_broken=2)
    assert folder.__getitems__([0])["caption"] == ["a house"] and [
        file.name for file in folder.files
    ] == ["b.png"]
    assert (
        folder.skipped_report() == "2 of 3 images have no caption and were left out: a.png, c.png."
    )
    (tmp_path / "b.txt").unlink()
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,\nb.png,a house\n")
    assert ImageFolder(tmp_path, 16, captions=True, max_broken=2).captions == [["a house"]]
    (tmp_path / "metadata.csv").unlink()
    with pytest.raises(UserError, match="3 of 3 images .* have no caption"):
        ImageFolder(tmp_path, 16, captions=True, max_broken=10)


def test_hidden_files_and_folders_with_a_pictures_name_are_no_images_and_a_dangling_link_is_broken(
    tmp_path,
):
    make(tmp_path, "a.png", "._a.png", ".thumbnails/a.png", "b.png/c.png")
    (tmp_path / "d.png").symlink_to(tmp_path / "gone.png")
    assert [file.relative_to(tmp_path).as_posix() for file in image_files(tmp_path)] == [
        "a.png",
        "b.png/c.png",
        "d.png",
    ]
    with pytest.raises(UserError, match="there is no image .*d.png"):
        ImageFolder(tmp_path, 16).__getitems__([0, 1, 2])


def test_a_name_that_is_no_unicode_is_taken(tmp_path, capfd):
    make(tmp_path, "a.png")
    os.link(tmp_path / "a.png", os.fsencode(tmp_path) + b"/caf\xe9.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    os.link(tmp_path / "c.png", os.fsencode(tmp_path) + b"/d\xe9.png")
    data = FolderData(tmp_path, 16, batch_size=2)
    assert len(data.images) == 4
    data.images.plain().__getitems__(range(4))
    data.print_skipped()
    assert (
        "2 of 4 images could not be read and were skipped: c.png, d\\udce9.png"
        in capfd.readouterr().out
    )


def test_batches_bring_captions_any_of_an_images_own(tmp_path):
    make(tmp_path, "a.png", "b.png")
    (tmp_path / "a.txt").write_text("one\ntwo\nthree")
    (tmp_path / "b.txt").write_text("else")
    folder = ImageFolder(tmp_path, 16, captions=True)
    drawn = [folder.__getitems__([0, 1])["caption"] for _ in range(50)]
    assert {first for first, _ in drawn} == {"one", "two", "three"} and {
        second for _, second in drawn
    } == {"else"}
    assert folder.captions_of(0) == ["one", "two", "three"]


# --- labels -------------------------------------------------------------------------------------


def test_labels_are_the_first_folder_or_what_stands_before_an_underscore(tmp_path):
    files = make(tmp_path, "cat/x/tabby_1.png", "dog/b_2.png")
    assert (
        labels_of(tmp_path, files, "folders") == labels_of(tmp_path, files, True) == ["cat", "dog"]
    )
    assert labels_of(tmp_path, files, "names") == ["tabby", "b"]


@pytest.mark.parametrize(
    "how, message",
    [
        ("folders", "a.png has no class; put each class in a folder"),
        ("names", "a.png has no class; write it before an underscore"),
    ],
)
def test_an_image_without_a_label_is_named(tmp_path, how, message):
    with pytest.raises(UserError, match=message):
        labels_of(tmp_path, make(tmp_path, "a.png"), how)


def test_a_labelled_folder_gives_classes(tmp_path):
    make(tmp_path, "dog/a.png", "cat/a.png", "cat/b.png")
    folder = ImageFolder(tmp_path, 16, labels="folders")
    assert folder.classes == {"class": {"cat": "a photo of a cat", "dog": "a photo of a dog"}}
    assert folder.__getitems__([0, 2])["factors"].tolist() == [[0], [1]]


# --- crops --------------------------------------------------------------------------------------


def test_a_random_crop_lies_within_the_image_and_shows_most_of_its_shorter_side(tmp_path):
    # Every pixel's red and green are its place, so that a crop's corners tell where it was cut.
    x, y = np.meshgrid(np.arange(100), np.arange(60))
    Image.fromarray(np.stack([x, y, 0 * x], 2).astype(np.uint8)).save(tmp_path / "a.png")
    torch.manual_seed(0)
    crops = [load_image(tmp_path / "a.png", 32, "random") for _ in range(40)]
    seen = (torch.stack(crops) + 1) * 127.5
    left, right = seen[:, 0, 0, 0], seen[:, 0, 0, -1]
    top, bottom = seen[:, 1, 0, 0], seen[:, 1, -1, 0]
    side = (right - left) * 32 / 31
    torch.testing.assert_close(
        side, (bottom - top) * 32 / 31, rtol=0, atol=2.5
    )  # squares stay squares
    assert side.min() > 0.8 * 60 - 2 and side.max() < 60 + 2 and side.std() > 2
    assert (
        left.min() >= 0
        and right.max() < 100
        and left.max() - left.min() > 20
        and top.max() - top.min() > 4
    )


def test_training_images_are_mirrored_every_other_time_and_held_out_ones_never(tmp_path):
    ramp = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))
    for name in range(8):
        Image.fromarray(ramp).save(tmp_path / f"{name}.png")
    data = FolderData(str(tmp_path), 16, 0.5, flip=True, crop="random")
    torch.manual_seed(0)
    mirrored = [bool(data.train[0]["image"][0, 0, 0] > 0) for _ in range(60)]
    assert 15 < sum(mirrored) < 45
    assert all(
        torch.equal(data.held_out[0]["image"], load_image(tmp_path / "0.png", 16)) for _ in range(5)
    )


# --- the split ----------------------------------------------------------------------------------


def test_the_split_stays_put_when_files_are_added(tmp_path):
    make(tmp_path, *(f"{i}.png" for i in range(60)))
    before = FolderData(str(tmp_path), 16, 0.25)
    make(tmp_path, *(f"new{i}.png" for i in range(40)))
    after = FolderData(str(tmp_path), 16, 0.25)

    def names(part):
        return {part.dataset.files[i].name for i in part.indices}

    assert names(before.held_out) <= names(after.held_out) and names(before.train) <= names(
        after.train
    )
    assert (
        not names(after.held_out) & names(after.train)
        and len(names(after.held_out) | names(after.train)) == 100
    )
    assert 10 <= len(after.held_out) <= 40


def test_a_folder_of_two_has_one_of_each_and_says_what_becomes_of_it(tmp_path, capsys):
    files = make(tmp_path, "a.png", "b.png")
    data = FolderData(str(tmp_path), 16, 0.001)
    assert len(data.held_out) == len(data.train) == 1
    name = files[data.held_out.indices[0]].name
    assert (
        f"data.held_out=0.001 of 2 images is none by their names, so one is held out: {name}. "
        "Images that are added later may take its place" in capsys.readouterr().out
    )


def test_the_held_out_part_offers_what_the_folder_knows(tmp_path):
    make(tmp_path, "cat/a.png", "dog/b.png")
    (tmp_path / "cat" / "a.txt").write_text("a cat")
    (tmp_path / "dog" / "b.txt").write_text("a dog")
    held_out = FolderData(str(tmp_path), 16, 0.001, captions=True, labels="folders").held_out
    assert (
        held_out.caption(0, 0, ["shape"]) == held_out.caption(0, 7) == f"a {held_out.class_name(0)}"
        and held_out.class_name(0) == held_out.dataset.files[held_out.indices[0]].parent.name
    )
    silent = FolderData(str(tmp_path), 16, 0.001).held_out
    assert not silent.has_captions and not silent.classes


# --- files that cannot be read ------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_files_are_named_skipped_and_counted(tmp_path, workers, capfd):
    make(tmp_path, *(f"{i}.png" for i in range(9)))
    for name in ("3.png", "8.png"):
        (tmp_path / name).write_bytes(b"no image")
    folder = ImageFolder(tmp_path, 16, max_broken=2)
    batches = list(DataLoader(folder, 3, num_workers=workers, collate_fn=lambda batch: batch))
    first = [(batch["image"][:, 0, 0, 0] + 1) * 127.5 for batch in batches]
    assert torch.cat(first).round().tolist() == [
        0,
        10,
        20,
        40,
        40,
        50,
        60,
        70,
        0,
    ]  # the next that can be read took their places
    assert (
        folder.skipped_report() == "2 of 9 images could not be read and were skipped: 3.png, 8.png."
    )
    said = capfd.readouterr().err
    assert said.count("skipped: cannot read the image") == 2 and "3.png" in said and "8.png" in said


def test_more_broken_files_than_allowed_end_the_run(tmp_path):
    make(tmp_path, *(f"{i}.png" for i in range(4)))
    for name in ("0.png", "1.png", "2.png"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"0\.png.*Or skip it: data\.max_broken=1"):
        ImageFolder(tmp_path, 16)[0]
    with pytest.raises(
        UserError,
        match=r"2\.png.*With it 3 images cannot be read, more than data\.max_broken=2: 0\.png, "
        r"1\.png, 2\.png\. Remove or mend",
    ):
        ImageFolder(tmp_path, 16, max_broken=2)[0]
    assert ImageFolder(tmp_path, 16, max_broken=3)[0]["image"].mean() > -1
    (tmp_path / "3.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 4 images of a part of"):
        ImageFolder(tmp_path, 16, max_broken=4)[0]


def test_a_broken_file_is_replaced_by_one_of_its_own_part(tmp_path):
    make(tmp_path, *(f"{i}.png" for i in range(12)))
    data = FolderData(str(tmp_path), 16, 0.5)
    first = {part: part.indices[0] for part in (data.train, data.held_out)}
    for place in first.values():
        (tmp_path / data.images.files[place].name).write_bytes(b"")
    for part in (data.train, data.held_out):
        assert torch.equal(part[0]["image"], load_image(data.images.files[part.indices[1]], 16))
    assert "2 of 12 images" in data.images.skipped_report()


def test_the_caption_of_a_class_has_the_right_article(tmp_path):
    for name in ("apple", "pear"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / name / "one.png")
    captions = ImageFolder(str(tmp_path), labels="folders").classes["class"]
    assert captions == {"apple": "a photo of an apple", "pear": "a photo of a pear"}
