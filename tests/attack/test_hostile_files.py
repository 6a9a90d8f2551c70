"""Hostile files against everything that reads one: no code is run, and each gets one line."""

import io
import json
import os
import shutil

import numpy as np
import pytest
import torch
from attack.conftest import some
from attacking import outcome
from hostile import Harm, damaged, images, metadata, pickles, shards, written
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_training import words

from sdg.app.checkpoints import main as checkpoints
from sdg.data.shapes import Shapes
from sdg.io.published_files import ALEXNET, INCEPTION
from sdg.models.registry import from_pretrained
from sdg.pipeline import Pipeline

# Settings that take a file of weights.
SAMPLING = (
    "denoiser.weights",
    "encoder.weights",
    "encoder.clip",
    "eval.clip",
    "eval.judge",
    "eval.inception",
)
IMAGES = ("init_image", "similarity.content.reference")
SOME = 3  # cases of each reader in CI


def files_of_weights(attack):
    (attack.folder / "files").mkdir()
    return pickles(attack.folder / "files", attack.marker) + damaged(attack.folder / "files")


@pytest.mark.parametrize("setting", SAMPLING)
def test_weights_for_sampling(attack, run, tiny, setting):
    for file in some(files_of_weights(attack), SOME):
        attack.case(
            f"{setting}={file.name}", lambda f=file: run("sample.py", *tiny, f"{setting}={f}")
        )


def test_weights_of_published_clips(attack, run, tiny):
    for file in some(pickles(attack.folder, attack.marker), SOME):
        words = ("encoder=clip", "encoder.name=RN50", f"encoder.pretrained=openai@{file}")
        attack.case(file.name, lambda w=words: run("sample.py", *tiny[:1], *tiny[3:], *w))


@pytest.mark.parametrize("setting", ["init", "ckpt_path"])
def test_weights_for_training(attack, run, setting):
    for file in some(files_of_weights(attack), SOME):
        words_ = words(attack.folder / "run", **{setting: file})
        attack.case(f"{setting}={file.name}", lambda w=words_: run(*w))


def test_checkpoints_to_resume(attack, run):
    for file in some(files_of_weights(attack), SOME):
        runs = attack.folder / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        (runs / "first" / "checkpoints").mkdir(parents=True)
        (runs / "first" / "config.yaml").write_text("kind: denoiser\n")
        if file.is_file():
            shutil.copy(file, runs / "first" / "checkpoints" / "last.ckpt")
        attack.case(file.name, lambda r=runs: run(*words(r / "next", resume="true")))


def test_a_config_beside_a_checkpoint(attack, run):
    texts = {
        "tag": f"kind: !!python/object/apply:os.system ['touch \"{attack.marker}\"']\n",
        "new": f"kind: !!python/object/new:os.system ['touch \"{attack.marker}\"']\n",
        "list": "[1, 2]\n",
        "torn": "kind: {\n",
        "empty": "",
        "binary": "\x00\x01",
    }
    for name, text in texts.items():
        runs = attack.folder / name
        (runs / "first" / "checkpoints").mkdir(parents=True)
        (runs / "first" / "config.yaml").write_text(text)
        torch.save({"global_step": 1, "state_dict": {}}, runs / "first/checkpoints/last.ckpt")
        attack.case(name, lambda r=runs: run(*words(r / "next", resume="true")))


def test_weights_in_a_hub_cache(attack, run, tiny, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(attack.folder))
    place = attack.folder / "hub" / "checkpoints"
    place.mkdir(parents=True)
    for published, setting in (
        (INCEPTION, "eval.inception=download"),
        (ALEXNET, "eval.lpips=true"),
    ):
        for name in {published.name, f"pt_{published.name.removeprefix('weights-')}"}:
            torch.save({"a": Harm(attack.marker)}, place / name)
        attack.case(setting, lambda s=setting: run("sample.py", *tiny, s))


def test_the_checkpoints_command_and_the_library(attack):
    def opened(file):
        try:
            from_pretrained(file)
        except ValueError as error:
            raise SystemExit(f"error: {error}") from None

    for file in some(files_of_weights(attack), 2 * SOME):
        out = attack.folder / "out.safetensors"
        attack.case(f"inspect {file.name}", lambda f=file: checkpoints(["inspect", str(f)]))
        attack.case(
            f"convert {file.name}", lambda f=file, o=out: checkpoints(["convert", str(f), str(o)])
        )
        attack.case(f"from_pretrained {file.name}", lambda f=file: opened(f))
        assert not out.exists()


def test_folders_of_diffusers_and_of_pipelines(attack, weights):
    harm = pickles(attack.folder, attack.marker)
    shutil.copytree(weights, attack.folder / "whole")
    cases = {
        "pickle": {"unet/diffusion_pytorch_model.bin": harm[0].read_bytes()},
        "class": {
            "model_index.json": b'{"_class_name": ["evil", "Pipeline"], "unet": ["os", "system"]}'
        },
        "remote": {"unet/config.json": b'{"_class_name": "os.system", "auto_map": {"a": "b.c"}}'},
        "deep": {"config.json": b"[" * 100_000},
        "list": {"config.json": b"[]"},
        "null": {"config.json": b'{"sdg": {"kind": "denoiser", "config": null}}'},
        "leaving": {
            "config.json": b'{"sdg": {"kind": "denoiser", "config": {}, "file": "../../x"}}'
        },
        "index": {"pipeline.json": b'{"denoiser": "../../../etc/passwd"}'},
        "index-deep": {"pipeline.json": b"[" * 100_000},
        "index-list": {"pipeline.json": b"[]"},
    }

    def opened(folder, opener):
        try:
            opener(folder)
        except ValueError as error:
            raise SystemExit(f"error: {error}") from None

    for name, contents in cases.items():
        folder = attack.folder / name
        for place, content in contents.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            written(folder / place, content)
        for opener in (from_pretrained, Pipeline.from_pretrained):
            attack.case(f"{opener.__name__} {name}", lambda f=folder, o=opener: opened(f, o))
        attack.case(f"inspect {name}", lambda f=folder: checkpoints(["inspect", str(f)]))


@pytest.mark.parametrize("setting", IMAGES)
def test_images(attack, run, tiny, setting):
    content = ["similarity=[content]"] if "content" in setting else []
    for file in some(images(attack.folder) + pickles(attack.folder, attack.marker)[:4], SOME):
        attack.case(
            f"{setting}={file.name}",
            lambda f=file: run("sample.py", *tiny, *content, f"{setting}={f}"),
        )


@pytest.mark.parametrize("setting", ["prompts", "similarity.text.negative_captions"])
def test_sentences(attack, run, tiny, setting):
    harm = pickles(attack.folder, attack.marker)
    texts = [*harm[:3], written(attack.folder / "wide.csv", b'prompt\n"' + b"x" * 300_000)]
    for file in texts:
        attack.case(
            f"{setting}={file.name}", lambda f=file: run("sample.py", *tiny, f"{setting}={f}")
        )


def test_a_folder_of_data(attack, run):
    files = images(attack.folder)
    for k, file in enumerate(some(files, SOME)):
        folder = attack.folder / f"images-{k}"
        folder.mkdir()
        for i in range(40):
            Image.new("RGB", (16, 16), (i, 0, 0)).save(folder / f"{i}.png")
        shutil.copy(file, folder / f"0.{file.suffix[1:]}")
        settings = (f"data.root={folder}", "data.max_broken=0", "data.resolution=32")
        command = [word for word in words(attack.folder / "run") if not word.startswith("data.")]
        attack.case(
            file.name,
            lambda s=settings, c=command: run(*c, "data=folder", *s, "data.batch_size=16"),
        )


def test_metadata_of_a_folder(attack, run):
    for k, file in enumerate(metadata(attack.folder)):
        folder = attack.folder / f"images-{k}"
        folder.mkdir()
        for name in ("a", "b", "c"):
            Image.new("RGB", (16, 16)).save(folder / f"{name}.png")
        shutil.copy(file, folder / f"metadata{file.suffix}")
        settings = (
            "data=folder",
            f"data.root={folder}",
            "data.captions=true",
            "data.resolution=32",
        )
        command = [word for word in words(attack.folder / "run") if not word.startswith("data.")]
        attack.case(file.name, lambda s=settings, c=command: run(*c, *s, "data.batch_size=1"))


def test_shards(attack, run):
    for file in shards(attack.folder, attack.marker):
        settings = ("data=webdataset", f"data.urls=[{file},{file}]", "data.resolution=32")
        command = [word for word in words(attack.folder / "run") if not word.startswith("data.")]
        attack.case(
            file.name,
            lambda s=settings, c=command: run(*c, *s, "data.batch_size=1", "data.num_workers=0"),
        )
    assert not (attack.folder.parent / "escaped.png").exists()


@pytest.mark.parametrize(
    "shard",
    [
        "pipe:touch '{}'; cat none.tar",
        "PIPE:touch '{}'",
        " pipe:touch '{}'",
        "http://127.0.0.1:1/'; touch '{}'; '.tar",
        "gs://x/$(touch '{}').tar",
        "ais://x/`touch '{}'`.tar",
    ],
)
def test_addresses_that_are_commands(attack, run, shard):
    address = shard.format(attack.marker)
    settings = ("data=webdataset", "data.urls=[" + json.dumps(address) + "]", "data.resolution=32")
    command = [word for word in words(attack.folder / "run") if not word.startswith("data.")]
    held = f"data.held_out_urls=[{json.dumps(address)}]"
    attack.case(shard, lambda: run(*command, *settings, held, "data.num_workers=0"))


def test_a_command_is_run_where_it_is_allowed(run, tmp_path):
    marker = tmp_path / "code was run"
    settings = (
        "data=webdataset",
        f"data.urls=[\"pipe:touch '{marker}'\"]",
        f"data.held_out_urls=[\"pipe:touch '{marker}'\"]",
        "data.allow_pipe=true",
        "data.num_workers=0",
        "data.resolution=32",
    )
    command = [word for word in words(tmp_path / "run") if not word.startswith("data.")]
    outcome(lambda: run(*command, *settings), tmp_path / "log")
    assert marker.exists()


def test_rendered_images(attack):
    def rendered():
        return Shapes(64, 3, 32, str(attack.folder / "cache")).images

    right, (file,) = np.array(rendered()), (attack.folder / "cache").iterdir()
    whole = file.read_bytes()
    umask = os.umask(0)
    os.umask(umask)
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask
    contents = {"cut": whole[:-1000], "empty": b"", "text": b"no array"}
    contents |= {each.name: each.read_bytes() for each in pickles(attack.folder, attack.marker)}
    bad = {
        "zero": np.zeros_like(right),
        "nan": np.full(right.shape, np.nan, np.float32),
        "few": right[:3],
        "other size": right[:, ::2, ::2],
        "one bit": right ^ 1,
    }
    for name, array in bad.items():
        content = io.BytesIO()
        np.save(content, array)
        contents[name] = content.getvalue()
    for name, content in contents.items():
        written(file, content)
        dead = written(file.with_name(f"{file.name}.123.part"), b"of a killed run")

        def mended(dead=dead):
            told = "drawn anew" in attack.log.read_text()
            return told and np.array_equal(rendered(), right) and not dead.exists()

        attack.case(name, rendered, mended)
    assert file.read_bytes() == whole


def test_features_of_real_images(attack, run, tiny, monkeypatch):
    monkeypatch.setattr("sdg.metrics.features.FEW", 2)
    cache = attack.folder / "real"
    options = [*tiny, "eval.imagenet=false", f"eval.cache={cache}", "samples_per_prompt=2"]
    run("sample.py", *options)
    figures = attack.folder / "run" / "metrics.json"
    right = json.loads(figures.read_text())
    (file,) = cache.glob("*.safetensors")
    whole, tensors = file.read_bytes(), load_file(file)
    contents = {"cut": whole[:-100], "empty": b"", "text": b"no features"}
    contents |= {each.name: each.read_bytes() for each in pickles(attack.folder, attack.marker)[:2]}
    bad = {
        "few": {name: rows[:20].clone() for name, rows in tensors.items()},
        "nan": {name: rows * torch.nan for name, rows in tensors.items()},
        "zero": {name: torch.zeros_like(rows) for name, rows in tensors.items()},
        "one": {name: rows + 1e-3 for name, rows in tensors.items()},
        "another": {"other": torch.ones(3)},
    }
    for name, content in bad.items():
        save_file(content, attack.folder / "bad.safetensors")
        contents[name] = (attack.folder / "bad.safetensors").read_bytes()

    def same_distance():
        now = json.loads(figures.read_text())
        return now["frechet_judge"] == right["frechet_judge"]

    for name, content in some(sorted(contents.items()), SOME):
        file.write_bytes(content)
        command = (*options, "eval.bootstrap=999")  # measured anew
        (attack.folder / "run" / "rows" / "measured.json").unlink(missing_ok=True)
        attack.case(name, lambda c=command: run("sample.py", *c), same_distance)
    assert file.read_bytes() == whole
    assert {place.name for place in cache.iterdir()} == {file.name}
