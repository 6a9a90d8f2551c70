"""Files and names that a command gives are looked at before anything heavy is loaded."""

import sys

import pytest
from PIL import Image

from sdg.data.class_names import class_names
from sdg.errors import UserError
from sdg.models.model_names import check_model_name
from sdg.models.registry import load_autoencoder

EMPTY = "similarity.content.reference: no image in the folder"


@pytest.fixture
def early(run, tmp_path, capsys):
    """The line with which a command ends before it says what begins."""

    def refused(*words: str) -> str:
        with pytest.raises(SystemExit) as stop:
            run("sample.py", *words, f"hydra.run.dir={tmp_path}/run")
        assert capsys.readouterr().out == ""
        return str(stop.value.code)

    return refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["similarity=[]"], "similarity=[] is empty"),
        (["eval.clip=/none"], "eval.clip: no weights at /none; "),
        (["eval.clip=/none"], "Or measure without it: eval.clip=null."),
        (["eval.judge=/none"], "eval.judge: no weights at /none; "),
        (["eval.inception=/none"], "eval.inception: there is no file /none; "),
        (["encoder.name=RN05"], "encoder.name: neither open_clip nor timm has a model 'RN05', did"),
        (
            ["similarity=[class]", "similarity.class.name=a | hart"],
            "similarity.class.name: there is no class 'a'. There are: circle, square,",
        ),
        (
            ["similarity=[class]", "similarity.class.name=[ring,hart]"],
            "there is no class 'hart', did you mean 'heart'? There are: circle, square,",
        ),
        (
            ["data=portraits", "similarity=[class]", "similarity.class.name=hart"],
            "there is no class 'hart', did you mean 'hat'? There are: bald,",
        ),
    ],
)
def test_what_is_not_there_is_refused_at_once(early, words, message):
    assert message in early(*words)


def test_a_reference_that_is_no_image_is_refused_at_once(early, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "none").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    content = ("similarity=[content]", "similarity.content.reference")
    for value, message in (
        (f"{tmp_path}/none", f"{EMPTY} {tmp_path}/none."),
        (f"{tmp_path}/text.png", f"cannot read {tmp_path}/text.png as an image: it is no image"),
        (tmp_path, f"cannot read {tmp_path}/text.png as an image: it is no image"),
        (f"[{tmp_path}/image.png,{tmp_path}/none]", "none as an image: it is a folder."),
        (f"{tmp_path}/image.png | {tmp_path}/x.png", f"there is no image {tmp_path}/x.png."),
    ):
        assert message in early(content[0], f"{content[1]}={value}")
    (tmp_path / "table.csv").write_text(f"content\n{tmp_path}/image.png\n{tmp_path}/text.png\n")
    assert "text.png as an image" in early(content[0], f"prompts={tmp_path}/table.csv")


def test_a_picture_is_no_autoencoder(early, refusal, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    word = f"denoiser.autoencoder={tmp_path}/image.png"
    message = f"denoiser.autoencoder: {tmp_path}/image.png is no autoencoder. Give the folder that"
    assert message in early(word)
    assert message in refusal("train.py", word)
    with pytest.raises(UserError, match="is no autoencoder. Give the folder"):
        load_autoencoder(tmp_path)


def test_a_folder_without_images_is_refused_at_once(early, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    message = f"data.root: no image in '{tmp_path}' (looked for .bmp .gif"
    assert message in early("data=folder", f"data.root={tmp_path}")


def test_the_classes_of_a_folder_are_its_folders(tmp_path):
    data = {"_target_": "sdg.data.folder_data.FolderData", "root": str(tmp_path)}
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    (tmp_path / "readme.txt").touch()
    assert class_names(data | {"labels": "folders"}) == ["cat", "dog"]
    assert class_names(data | {"labels": "names"}) is None


@pytest.mark.parametrize(
    "name", ["RN50", "vit_base_patch16_clip_224", "resnet_tiny", "resnet50.a1"]
)
def test_every_model_of_the_libraries_passes(name):
    check_model_name(name)


def test_no_library_is_imported_to_look_a_model_up(monkeypatch):
    for package in ("open_clip", "timm"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    with pytest.raises(UserError, match="has a model 'vit_bse'"):
        check_model_name("vit_bse")
    assert not {"open_clip", "timm"} & set(sys.modules)
