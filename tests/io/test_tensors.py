"""Files of weights, whatever wrote them."""

import os
import pickle
import shlex
import subprocess
import sys
from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file

from sdg.errors import UserError
from sdg.io.metadata import metadata_of
from sdg.io.tensors import load_tensors, tensor_shapes

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}


def write(file, kind):
    if kind == "safetensors":
        save_file(TENSORS, str(file), {"made": "here"})
    else:
        torch.save(TENSORS, file, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize(
    "name, kind",
    [("x.safetensors", "safetensors"), ("x.pt", "zip"), ("x.ckpt", "zip"), ("x.pth", "old")],
)
def test_every_format_gives_the_same_tensors(tmp_path, name, kind):
    write(tmp_path / name, kind)
    loaded = load_tensors(tmp_path / name)
    assert loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[key], value) for key, value in TENSORS.items())


def test_a_safetensors_is_described_without_its_tensors(tmp_path):
    write(tmp_path / "x.safetensors", "safetensors")
    assert tensor_shapes(tmp_path / "x.safetensors") == {"a": [2, 3], "b": [2]}
    assert metadata_of(tmp_path / "x.safetensors") == {"made": "here"}


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_needs_code_is_refused(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Trap()}, "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="never run"):
        load_tensors("x.pt")
    assert not (tmp_path / "sprung").exists()


ODD = "-a $HOME `ls` 'one' \"two\" \\!1;&*.pkl"  # each of it means something to a shell


@pytest.mark.parametrize(
    "name",
    [
        "net.pt",
        pytest.param("net.pkl", marks=pytest.mark.slow),
        pytest.param("script.pt", marks=pytest.mark.slow),
        pytest.param(ODD, marks=pytest.mark.slow),
    ],
)
def test_the_recipe_for_a_file_that_needs_code_makes_safetensors_of_it(tmp_path, name):
    network = torch.nn.Linear(2, 3)
    if name.endswith(".pkl"):
        (tmp_path / name).write_bytes(pickle.dumps({"ema": network}))
    elif name == "script.pt":
        torch.jit.trace(network, torch.zeros(1, 2)).save(tmp_path / name)
    else:
        content = {"model": {}, "ema": network.state_dict(), "args": Namespace(lr=1)}
        torch.save(content, tmp_path / name)
    with pytest.raises(UserError, match="If you trust it, run this beside it") as caught:
        load_tensors(tmp_path / name)
    command = str(caught.value).split(": python ")[1]
    python = shlex.quote(sys.executable)
    shell = "bash" if name == ODD else "sh"
    subprocess.run([shell, "-c", f"{python} {command}"], cwd=tmp_path, check=True)
    assert len(list(tmp_path.iterdir())) == 2
    made = (tmp_path / name).with_suffix(".safetensors")
    assert torch.equal(load_tensors(made)["weight"], network.weight)


def test_a_file_of_anything_else_gets_no_recipe(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"words")
    with pytest.raises(UserError, match="never run here.$"):
        load_tensors(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_a_damaged_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(UserError, match="no file of weights"):
        load_tensors(tmp_path / name)
