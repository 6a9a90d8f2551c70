"""A file that may not be read is not called a missing or a damaged one."""

import errno
from pathlib import Path

import pytest
from PIL import Image

from sdg.data.image import load_image
from sdg.data.prompts import read_table
from sdg.errors import UserError
from sdg.io.json_config import json_config
from sdg.io.shipped import on_this_machine
from sdg.io.tensors import load_tensors
from sdg.io.weights import header


def denied(*_, **__):
    raise PermissionError(errno.EACCES, "Permission denied", "file")


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.png", "a.txt", "a.json"])
def test_what_may_not_be_read_says_so(weights, tmp_path, monkeypatch, name):
    file = tmp_path / name
    file.write_bytes((weights / "clip.safetensors").read_bytes())
    readers = {".png": [lambda file: load_image(file, 32, setting="init_image")]}
    readers |= {".txt": [read_table], ".safetensors": [header, load_tensors], ".pt": [load_tensors]}
    readers |= {".json": [json_config]}
    monkeypatch.setattr("sdg.io.files.open", denied, raising=False)  # root may read everything
    for read in readers[file.suffix]:
        with pytest.raises(UserError, match=f"cannot read .*{name}.*: you have no permission to"):
            read(file)


def test_a_folder_that_may_not_be_entered_is_named(monkeypatch):
    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(UserError, match="cannot read mine/a.pt: you have no permission to enter"):
        on_this_machine("mine/a.pt")


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(UserError, match="init_image: cannot read .* as an image: it is a folder"):
        load_image(tmp_path, 32, setting="init_image")
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    assert load_image(tmp_path / "image.png", 4).shape == (3, 4, 4)
