"""What a run measures, and what is measured of an encoder alone.

It is measured on several ranks' worth of parts, in shards, beside a folder of images.
"""

import csv
import json
import math
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from sdg.data.captions import FACTORS, all_named
from sdg.data.portraits import Portraits
from sdg.data.shapes import Shapes
from sdg.evaluation import measuring as evaluation
from sdg.evaluation.attributes import condition_factors
from sdg.evaluation.features import FeatureDistances
from sdg.io.weights import save
from sdg.metrics import features
from sdg.metrics.features import Frechet
from sdg.metrics.readers import choose_reader
from sdg.models.registry import load_judge
from sdg.report.curves import curves
from sdg.report.pictures import Pictures, open_picture


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def table(folder):
    with open(folder / "samples.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_figures_do_not_depend_on_how_samples_are_parted(run, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "FEW", 10)  # so few have a distance too
    options = [
        "num_samples=15",
        "samples_per_prompt=3",
        f"eval.cache={tmp_path}/real",
        "data.held_out=20",
        "sampler.steps=2",
        "eval.imagenet=false",  # the judge's features go the same way
    ]
    whole = [option for option in tiny if not option.startswith(("num_samples", "hydra"))] + options
    run("sample.py", *whole, f"hydra.run.dir={tmp_path}/whole")
    monkeypatch.setattr(evaluation, "PART", 6)
    run("sample.py", *whole, f"hydra.run.dir={tmp_path}/parts")
    one, other = metrics(tmp_path / "whole"), metrics(tmp_path / "parts")
    for figures in (one, other):
        del figures["seconds_per_sample"], figures["cost_per_sample"]
    assert (
        other.keys() == one.keys()
        and {"retrieval_judge", "diversity_judge", "diversity_judge_interval", "frechet_judge_real"}
        < one.keys()
    )
    for name, value in one.items():
        assert (
            other[name] == pytest.approx(value, rel=1e-4)
            if isinstance(value, float)
            else other[name] == value or name.startswith("diversity")
        ), name
    assert (tmp_path / "whole" / "samples.csv").read_text() == (
        tmp_path / "parts" / "samples.csv"
    ).read_text()
    with open(tmp_path / "whole" / "metrics.csv", newline="") as file:
        (flat,) = csv.DictReader(file)
    assert (
        float(flat["alignment.all"]) == one["alignment"]["all"]
        and float(flat["frechet_judge"]) == one["frechet_judge"]
    )


@pytest.mark.slow
def test_shares_and_retrieval_are_those_of_the_table(run, tiny, weights, tmp_path):
    run("sample.py", *tiny, "samples_per_prompt=2", "eval.reading=true")
    rows, found, judge = (
        table(tmp_path / "run"),
        metrics(tmp_path / "run"),
        load_judge(weights / "judge.safetensors"),
    )
    images = Pictures(tmp_path / "run", "folder").read_images([row["file"] for row in rows])
    guesses = choose_reader(Shapes(1, 0)).infer(images).factors
    for row, guess in zip(rows, guesses.tolist(), strict=True):
        for factor, value in zip(FACTORS, guess, strict=True):
            assert row[factor] == FACTORS[factor][value]
    shapes = judge(images).guesses()[:, 0].tolist()
    prompts = [all_named(row["prompt"])["shape"] for row in rows]
    right = [guess in named for guess, named in zip(shapes, prompts, strict=True)]
    assert found["alignment_judge"]["shape"] == pytest.approx(np.mean(right))
    assert found["residual"] == pytest.approx(np.median([float(row["residual"]) for row in rows]))
    assert found["shows"] == pytest.approx(np.mean([int(row["shows"]) for row in rows]))
    assert found["alignment"]["all"] == pytest.approx(np.mean([int(row["all"]) for row in rows]))
    assert found["similarity"] == pytest.approx(np.mean([float(row["similarity"]) for row in rows]))
    assert {row["gamma"] for row in rows} == {str(found["gamma"])} and found["retrieval_judge"][
        "among"
    ] == 2


def test_a_wish_that_names_nothing_is_neither_right_nor_wrong(run, tiny, tmp_path):
    for name, prompt in (("nothing", "an object"), ("colour", "a red object")):
        run("sample.py", *tiny[:-1], f"prompt={prompt}", f"hydra.run.dir={tmp_path}/{name}")
    assert {row["all"] for row in table(tmp_path / "nothing")} == {
        ""
    } and "alignment_all_interval" not in metrics(tmp_path / "nothing")
    assert {row["all"] for row in table(tmp_path / "colour")} <= {
        "0",
        "1",
    } and "alignment_all_interval" in metrics(tmp_path / "colour")


@pytest.mark.slow
def test_inception_and_lpips_measure_a_run_when_their_weights_are_there(
    run, tiny, inception, alexnet, tmp_path, monkeypatch
):
    monkeypatch.setattr(features, "FEW", 2)  # Inception reads two images a second
    run(
        "sample.py",
        *tiny,
        "samples_per_prompt=2",
        f"eval.inception={inception[0]}",
        "eval.lpips=true",
        f"eval.cache={tmp_path}/real",
    )
    found, images = (
        metrics(tmp_path / "run"),
        Pictures(tmp_path / "run", "folder").read_images(
            [row["file"] for row in table(tmp_path / "run")]
        ),
    )
    of_pair = LearnedPerceptualImagePatchSimilarity(net_type="alex")
    assert found["diversity_lpips"] == pytest.approx(
        (of_pair(images[:1], images[1:2]) + of_pair(images[2:3], images[3:])).item() / 2, rel=1e-4
    )
    ours, real = inception[1](((images + 1) * 127.5).round().to(torch.uint8))[0], Shapes(32, 1)
    theirs = inception[1](torch.from_numpy(real.images).permute(0, 3, 1, 2))[0]
    distance = Frechet(theirs)
    distance.update(ours, torch.arange(4), torch.arange(4))
    assert found["fid"] == pytest.approx(float(distance.compute()), rel=1e-2)


@pytest.mark.slow
def test_shards_hold_what_a_folder_holds(run, tiny, tmp_path):
    for kind in ("folder", "shards"):
        run(
            "sample.py",
            *tiny[:-1],
            "batch_size=3",
            f"images={kind}",
            f"hydra.run.dir={tmp_path}/{kind}",
        )
    names = sorted(file.name for file in (tmp_path / "shards" / "shards").iterdir())
    assert names == ["00000.tar", "00003.tar"] and not (tmp_path / "shards" / "images").exists()
    with tarfile.open(tmp_path / "shards" / "shards" / "00000.tar") as shard:
        assert shard.getnames() == [f"0000{i}.{kind}" for i in range(3) for kind in ("png", "json")]
        told = json.loads(shard.extractfile("00001.json").read())
    row = table(tmp_path / "shards")[1]
    assert (
        told == {"index": 1, "seed": int(row["seed"]), "condition": {"text": row["prompt"]}}
        and row["file"] == "shards/00000.tar/00001.png"
    )
    for index in range(4):
        files = [
            open_picture(tmp_path / kind / table(tmp_path / kind)[index]["file"])
            for kind in ("folder", "shards")
        ]
        assert np.array_equal(*map(np.asarray, files))
    figures = [metrics(tmp_path / kind)["similarity"] for kind in ("folder", "shards")]
    assert figures[0] == pytest.approx(figures[1])
    assert (tmp_path / "shards" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_images_of_a_folder_are_compared_in_the_clips_features(run, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "FEW", 2)
    (tmp_path / "data").mkdir()
    for i in range(40):
        Image.new("RGB", (40, 40), (5 * i, 200 - 5 * i, 100)).save(
            tmp_path / "data" / f"{i:02d}.png"
        )
    kept = [option for option in tiny if not option.startswith("data.")]
    run(
        "sample.py",
        *kept,
        "data=folder",
        f"data.root={tmp_path}/data",
        "data.held_out=0.5",
        "prompt=a red heart",
        f"eval.cache={tmp_path}/real",
        "eval.imagenet=false",
    )
    found = metrics(tmp_path / "run")
    assert (
        found["frechet_clip"] > 0
        and found["diversity_clip"] > 0
        and "frechet_judge" not in found
        and "alignment" not in found
    )
    before = {file.name for file in (tmp_path / "real").iterdir()}
    Image.new("RGB", (40, 40), "red").save(tmp_path / "data" / "00.png")  # a held-out image changes
    run(
        "sample.py",
        *kept,
        "data=folder",
        f"data.root={tmp_path}/data",
        "data.held_out=0.5",
        "prompt=a red heart",
        f"eval.cache={tmp_path}/real",
        "eval.imagenet=false",
        "rerun=true",
    )
    assert len({file.name for file in (tmp_path / "real").iterdir()} - before) == 1


@pytest.mark.slow
def test_an_encoders_own_evaluation(run, tiny, tmp_path, refusal):
    assert "is a setting of eval=judge, which" in refusal("sample.py", *tiny, "eval=encoder")
    tiny = [option for option in tiny if not option.startswith("eval.")]
    run(
        "sample.py",
        *tiny,
        "eval=encoder",
        "eval.levels=[0,500,999]",
        "eval.images=20",
        "eval.gradients=8",
    )
    folder = tmp_path / "run"
    with open(folder / "gradients.csv", newline="") as file:
        gradients = list(csv.DictReader(file))
    names = ["noise-aware", "clean", "clean, through the denoiser"]
    assert [row["encoder"] for row in gradients] == 10 * names
    levels = [int(row["t"]) for row in gradients]
    assert levels == sorted(levels) and levels[0] < 300 and levels[-1] > 950
    # Fresh from its clean tower the copy has the same gradient.
    assert all(
        float(a["gamma_best"]) == pytest.approx(float(b["gamma_best"]), rel=0.01)
        for a, b in zip(gradients[::3], gradients[1::3], strict=True)
    )
    nats = json.loads((folder / "information.json").read_text())
    assert list(nats) == [*names, "in the sentences"] and all(map(math.isfinite, nats.values()))
    assert {file.name for file in folder.iterdir()} >= {
        "encoder.csv",
        "encoder.png",
        "metrics.json",
        "report.html",
        "config.yaml",
    }
    with open(folder / "encoder.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["t"], row["encoder"]) for row in rows] == [
        (t, name) for t in ("0", "500", "999") for name in ("noise-aware", "clean")
    ]
    # Fresh from its clean tower the copy equals it, and the clean one finds a hardly noised image
    # again.
    assert all(
        float(a["cosine"]) == pytest.approx(float(b["cosine"]), abs=1e-4)
        for a, b in zip(rows[::2], rows[1::2], strict=True)
    )
    assert float(rows[1]["retrieval_top1"]) > 0.9 and float(rows[5]["retrieval_top1"]) < 0.5
    assert "eval.levels must be an integer from 0 to 999" in refusal(
        "sample.py", *tiny, "eval=encoder", "eval.levels=[1000]"
    )
    assert "use encoder=clip_noisy" in refusal(
        "sample.py",
        *[o for o in tiny if not o.startswith("encoder.")],
        "eval=encoder",
        "encoder=clip",
    )


def test_few_held_out_images_leave_half_their_captions_for_the_bank(run, tiny, tmp_path):
    kept = [word for word in tiny if not word.startswith(("eval.", "data.held_out="))]
    words = ["eval=encoder", "eval.levels=[500]", "eval.images=6", "data.held_out=6"]
    run("sample.py", *kept, *words)
    nats = json.loads((tmp_path / "run" / "information.json").read_text())
    # Of a bank of 3 captions a sentence says at most about log 3.
    assert 0 < abs(nats["in the sentences"]) < 3


def test_a_class_of_several_factors_is_read_as_that_of_its_own():
    portraits = Portraits(4, seed=0)
    names = list(portraits.attributes)
    conditions = [
        {"class": "hair_colour: red"},
        {"class": "clothes_colour: red | hair_colour: black:-1"},
        {"class": "eyepatch"},
    ]
    wanted = condition_factors(conditions, 1, portraits)
    unwanted = condition_factors(conditions, -1, portraits)

    def row(**named):
        places = {factor: list(portraits.attributes[factor]) for factor in names}
        return [places[factor].index(named[factor]) if factor in named else -1 for factor in names]

    assert wanted[0].tolist() == row(hair_colour="red")
    assert wanted[1].tolist() == row(clothes_colour="red")
    assert unwanted[1].tolist() == row(hair_colour="black")
    assert wanted[2].tolist() == row(eyewear="eyepatch")


def test_another_judge_under_the_same_name_measures_anew(run, tiny, tmp_path, weights):
    judge = tmp_path / "judge.safetensors"
    words = [*(word for word in tiny if not word.startswith("eval.judge=")), f"eval.judge={judge}"]
    shutil.copy(weights / "judge.safetensors", judge)
    run("sample.py", *words)
    before = metrics(tmp_path / "run")
    run("sample.py", *words)
    assert metrics(tmp_path / "run") == before
    model = load_judge(judge)
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(0.5)
    save(judge, "judge", model, model.config)
    run("sample.py", *words)
    assert len(list((tmp_path / "run" / "measured").iterdir())) == 1


def test_figures_of_another_measurement_are_kept(run, tiny, tmp_path):
    run("sample.py", *tiny)
    before = (tmp_path / "run" / "metrics.json").read_text()
    run("sample.py", *tiny, "eval.judge=null")
    (kept,) = (tmp_path / "run" / "measured").iterdir()
    assert (
        (kept / "metrics.json").read_text() == before
        and "retrieval_judge" in before
        and "retrieval_judge" not in (tmp_path / "run" / "metrics.json").read_text()
    )
    assert {file.name for file in kept.iterdir()} == {
        "eval.json",
        "metrics.json",
        "metrics.csv",
        "samples.csv",
        "report.html",
        "grid.png",
    }


def test_curves_have_a_panel_for_each_figure_that_the_jobs_have():
    found = [
        {"alignment": {"all": 0.5, "shape": 0.6}, "frechet_judge": 3.0, "diversity_judge": 2.0},
        {"alignment": {"all": 0.7, "shape": 0.6}, "frechet_judge": 4.0},
    ]
    assert len(curves(["guidance.gamma=0", "guidance.gamma=5"], found).axes) == 2
    found[1]["diversity_judge"] = 1.0
    assert len(curves(["guidance.gamma=0", "guidance.gamma=5"], found).axes) == 3
    assert curves(["guidance.gamma=0", "guidance.gamma=5"], [{}, {}]) is None


def test_figures_are_of_float32_whatever_samples_are_drawn_in(run, tiny, tmp_path, monkeypatch):
    precise = []
    update = FeatureDistances.update

    def watched(self, features, *rest):
        precise.extend(values.dtype == torch.float32 for values in features.values())
        return update(self, features, *rest)

    monkeypatch.setattr(FeatureDistances, "update", watched)
    out = f"hydra.run.dir={tmp_path}"
    run("sample.py", *tiny, "sampler.steps=2", "trainer.precision=bf16-mixed", out)
    assert precise and all(precise)
