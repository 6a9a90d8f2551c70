"""Shipped weights are found whatever the current folder is; a user's own go first."""

from pathlib import Path

import pytest

from sdg.errors import UserError
from sdg.io.digest import content
from sdg.io.hub import is_hub_name, located
from sdg.io.shipped import CHECKOUT, CONF, on_this_machine, shipped

ROOT = Path(__file__).resolve().parents[2]
CLIP = "weights/shapes/clip.safetensors"


def test_a_checkout_is_known_as_one():
    assert CHECKOUT == ROOT and CONF == ROOT / "conf"
    assert shipped("portraits") == ROOT / "weights/portraits"


def test_shipped_weights_are_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    digest = content(CLIP)
    monkeypatch.chdir(tmp_path)
    assert located(CLIP) == ROOT / CLIP
    assert content(CLIP) == digest
    # Two words and a slash are no name on the hub where they are shipped weights.
    assert not is_hub_name("weights/portraits") and located("weights/portraits").is_dir()


def test_a_users_own_file_of_that_path_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / CLIP
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    assert located(CLIP).resolve() == own


@pytest.mark.parametrize(
    "path", ["conf/sample.yaml", "weights/shapes/none.safetensors", "weightsx"]
)
def test_nothing_else_of_the_checkout_is_found(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert on_this_machine(path) is None


def test_weights_that_are_nowhere_are_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match="no weights at weights/shapes/none.safetensors; train them"
    ):
        located("weights/shapes/none.safetensors")
