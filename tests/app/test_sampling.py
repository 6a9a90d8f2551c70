"""What a run of `sample.py` leaves.

No sample depends on its batch or on the number of processes.
"""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wandb
from attack.settings import GROUPS, composed
from PIL import Image
from torch import nn

from sdg.app.jobs import Jobs
from sdg.io.weights import save
from sdg.models.registry import load_clip_noisy
from sdg.report.compared import compared

ROOT = Path(__file__).resolve().parents[2]


def pixels(folder):
    return np.stack(
        [np.asarray(Image.open(file)) for file in sorted((folder / "images").glob("*.png"))]
    ).astype(int)


def table(folder):
    with open(folder / "samples.csv", newline="") as file:
        return list(csv.DictReader(file))


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_a_run_leaves_images_table_figures_and_config(run, tiny, tmp_path, capsys):
    run("sample.py", *tiny, "guidance.gamma=5")
    folder = tmp_path / "run"
    assert capsys.readouterr().out.rstrip().endswith(f"results: {folder}")
    assert {file.name for file in folder.iterdir()} >= {
        "grid.png",
        "images",
        "samples.csv",
        "config.yaml",
        "metrics.json",
        "versions.json",
    }
    found = metrics(folder)
    assert (
        set(found["alignment"])
        == set(found["judge_ceiling"])
        == {"shape", "colour", "pattern", "size", "background", "all"}
    )
    assert (
        found["alignment"]["size"] is None and found["alignment"]["all"] is not None
    )  # the default prompts do not name the size
    assert found["gamma"] == 5 and found["num_samples"] == 4
    assert all(isinstance(found[name], float) for name in ("similarity", "seconds_per_sample"))
    assert "frechet_judge" not in found  # four samples have no distance to the data
    rows = table(folder)
    assert [row["index"] for row in rows] == list("0123") and len(
        {row["seed"] for row in rows}
    ) == 4
    assert pixels(folder).shape == (4, 32, 32, 3)


@pytest.mark.slow
def test_batch_size_changes_no_sample(run, tiny, tmp_path):
    for size in (1, 3):
        run("sample.py", *tiny[:-1], f"batch_size={size}", f"hydra.run.dir={tmp_path}/{size}")
    assert (
        np.abs(pixels(tmp_path / "1") - pixels(tmp_path / "3")).max() <= 1
    )  # 8 bits: 1e-4 may still cross a rounding edge
    assert [(row["seed"], row["prompt"]) for row in table(tmp_path / "1")] == [
        (row["seed"], row["prompt"]) for row in table(tmp_path / "3")
    ]


def test_an_encoder_of_another_schedule_is_told_its_own_levels(
    run, tiny, weights, tmp_path, refusal
):
    encoder = load_clip_noisy(weights / "clip_noisy.safetensors")

    def of(kind, T):
        return "encoder.weights=" + str(
            save(
                tmp_path / f"{kind}{T}.safetensors",
                "clip_noisy",
                encoder,
                encoder.config | {"schedule": {"kind": kind, "T": T}},
            )
        )

    run("sample.py", *tiny, of("linear", 500))
    assert metrics(tmp_path / "run")["num_samples"] == 4 and pixels(tmp_path / "run").std() > 0
    assert "the encoder's schedule (linear, T=20) has no level" in refusal(
        "sample.py", *tiny, of("linear", 20)
    )


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver"])
def test_prompt_of_one_sentence(run, tiny, tmp_path, sampler):
    run("sample.py", *tiny, "prompt=a striped red heart", f"sampler={sampler}", "sampler.steps=3")
    assert {row["prompt"] for row in table(tmp_path / "run")} == {"a striped red heart"}
    assert metrics(tmp_path / "run")["alignment"]["background"] is None


def test_prompts_of_a_file_may_hold_what_the_command_line_cannot(run, tiny, tmp_path):
    (tmp_path / "prompts.txt").write_text(
        "# two sentences\na red heart, striped\n\na blue disc on a grey background.\n"
    )
    run("sample.py", *tiny, f"prompts={tmp_path}/prompts.txt", "samples_per_prompt=2")
    assert [row["prompt"] for row in table(tmp_path / "run")] == ["a red heart, striped"] * 2 + [
        "a blue disc on a grey background."
    ] * 2


def test_gamma_zero_needs_no_encoder(run, tiny, tmp_path):
    run(
        "sample.py",
        *[o for o in tiny if not o.startswith("encoder.")],
        "encoder=none",
        "guidance.gamma=0",
    )
    assert metrics(tmp_path / "run")["gamma"] == 0


@pytest.mark.slow
def test_a_sweep_ends_in_one_table_and_two_pictures_and_each_job_has_a_wandb_run_of_its_own(
    run, tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    folder = tmp_path / "sweep"
    run(
        "sample.py",
        "-m",
        *tiny[:-1],
        "logger=wandb",
        "guidance.gamma=0,5",
        f"hydra.sweep.dir={folder}",
    )
    with open(folder / "sweep.csv", newline="") as file:
        assert [row["job"] for row in csv.DictReader(file)] == [
            "guidance.gamma=0",
            "guidance.gamma=5",
        ]
    assert (folder / "sweep.png").is_file() and (folder / "curves.png").is_file()
    assert capsys.readouterr().out.rstrip().endswith(f"results: {folder}")
    wandb.finish()
    folders = [folder, *(job["path"] for job in Jobs.jobs(folder))]
    runs = [next((folder / "wandb").glob("offline-run-*")) for folder in folders]
    assert len({run.name.rpartition("-")[2] for run in runs}) == 3
    pictures = [len(list(run.glob("files/media/images/*.png"))) for run in runs]
    assert pictures == [2, 1, 1]  # sweep.png and curves.png; a grid each


@pytest.mark.slow
def test_a_sweep_by_reference_names_the_references(run, tiny, tmp_path):
    run(
        "sample.py",
        *tiny[:-1],
        "guidance.gamma=0,1",
        "-m",
        "similarity=[content]",
        f"hydra.sweep.dir={tmp_path}/sweep",
    )  # -m may stand anywhere
    left = {file.name for file in (tmp_path / "sweep").iterdir()}
    assert left >= {"sweep.csv", "sweep.png"} and "curves.png" not in left  # nothing to draw
    with open(tmp_path / "sweep" / "sweep.csv", newline="") as file:
        unguided, guided = csv.DictReader(file)
    (job,) = (job["path"] for job in Jobs.jobs(tmp_path / "sweep") if job["name"].endswith("=1"))
    assert (
        float(guided["same_shape"]) == metrics(job)["agreement"]["content"]["shape"]
        and float(guided["mask_iou"]) == metrics(job)["mask_iou"]["content"]
    )
    assert (
        unguided["same_shape"]
        and Path(tmp_path / "sweep" / "report.html").read_text().count("<td>reference</td>") == 1
    )


@pytest.mark.slow
def test_a_sweep_over_references_shows_each_above_its_own_row(run, tiny, tmp_path):
    for name in "ab":
        Image.new("RGB", (8, 8), "red" if name == "a" else "blue").save(tmp_path / f"{name}.png")
    run(
        "sample.py",
        "-m",
        *tiny[:-1],
        "similarity=[content]",
        f"similarity.content.reference={tmp_path}/a.png,{tmp_path}/b.png",
        f"hydra.sweep.dir={tmp_path}/sweep",
    )
    heads, rows = compared(Jobs.jobs(tmp_path / "sweep"))
    assert all(head.startswith("sample ") for head in heads) and [
        name for name, _ in rows[1::2]
    ] == [f"similarity.content.reference={name}.png" for name in "ab"]
    assert [name for name, _ in rows[::2]] == ["reference"] * 2 and len(rows) == 4
    page = (tmp_path / "sweep" / "report.html").read_text()
    for (_, references), name in zip(rows[::2], "ab", strict=True):
        label = f"content of {name}.png"
        assert references[0][1] == label and f">{label}</span>" in page
        with Image.open(references[0][0]) as kept:
            assert (
                kept.convert("RGB").getpixel((3, 3)) == {"a": (255, 0, 0), "b": (0, 0, 255)}[name]
            )


def test_a_failed_job_of_a_sweep_is_named_and_the_others_are_kept(run, tiny, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(
            "sample.py",
            "-m",
            *tiny[:-1],
            f"hydra.sweep.dir={tmp_path}/sweep",
            "prompt='a hart','a ring'",
        )
    assert (
        "these failed" in str(stop.value.code)
        and "prompt='a hart'" in str(stop.value.code)
        and "\n" not in str(stop.value.code)
    )
    with open(tmp_path / "sweep" / "sweep.csv", newline="") as file:
        assert [row["job"] for row in csv.DictReader(file)] == ["prompt='a ring'"]


def test_a_wrong_value_of_a_sweep_is_refused_before_its_first_job(refusal, tiny, tmp_path):
    sweep = [*tiny[:-1], f"hydra.sweep.dir={tmp_path}/sweep", "-m"]
    message = refusal("sample.py", *sweep, "guidance.gamma=1,2,foo")
    assert "guidance.gamma must be a finite number, not 'foo'" in message
    message = refusal("sample.py", *sweep, "guidance.interval=[0,1],[0.9,0.2]", "guidance=sdg,dps")
    assert "guidance.interval must be" in message
    assert not (tmp_path / "sweep").exists()


def test_an_unfinished_run_goes_on_at_the_next_batch_and_draws_the_same_bytes(
    run, tiny, tmp_path, capsys
):
    run("sample.py", *tiny, "batch_size=2")
    whole, images = metrics(tmp_path / "run"), sorted((tmp_path / "run" / "images").glob("*.png"))
    before, times = (
        [file.read_bytes() for file in images],
        [file.stat().st_mtime_ns for file in images],
    )
    # What a kill in the second batch leaves: no rows of it, one image in part and one not at all.
    (tmp_path / "run" / "rows" / "00002.jsonl").unlink()
    images[2].write_bytes(before[2][:40])
    images[3].unlink()
    capsys.readouterr()
    run("sample.py", *tiny, "batch_size=2")
    assert "1 of 2 batches are drawn already" in capsys.readouterr().out
    assert [file.read_bytes() for file in images] == before
    assert [file.stat().st_mtime_ns == time for file, time in zip(images, times, strict=True)] == [
        True,
        True,
        False,
        False,
    ]
    again = metrics(tmp_path / "run")
    file = tmp_path / "run" / "metrics.json"
    measured = file.stat().st_mtime_ns
    run("sample.py", *tiny, "batch_size=2")  # nothing is left to do
    assert file.stat().st_mtime_ns == measured
    run("sample.py", *tiny, "batch_size=2", "eval.real=10")
    assert file.stat().st_mtime_ns != measured
    assert all(
        again[name] == whole[name]
        for name in whole
        if name not in ("seconds_per_sample", "cost_per_sample")
    )


@pytest.mark.slow
def test_the_samples_of_another_run_are_replaced_only_when_asked(run, refusal, tiny, tmp_path):
    run("sample.py", *tiny)
    other = [
        *[o for o in tiny if not o.startswith("num_samples")],
        "num_samples=2",
        "prompt=a ring",
    ]
    assert (
        "rerun=true replaces them" in refusal("sample.py", *other)
        and len(pixels(tmp_path / "run")) == 4
    )
    run("sample.py", *other, "rerun=true")
    assert len(table(tmp_path / "run")) == 2 and len(pixels(tmp_path / "run")) == 2


def test_what_evaluation_lacks_is_said_before_anything_is_drawn(refusal, tiny, tmp_path):
    for overrides, said in (
        (["eval.clip=/nowhere"], "no weights at /nowhere"),
        (["eval.grid=0"], "eval.grid must be"),
        (["eval.real=1"], "eval.real must be"),
    ):
        assert said in refusal(
            "sample.py",
            *[o for o in tiny if o.partition("=")[0] != overrides[0].partition("=")[0]],
            *overrides,
        )
        assert not (tmp_path / "run" / "images").exists()


def test_an_unguided_run_of_data_without_captions_needs_no_prompt(run, tiny, tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(3):
        Image.new("RGB", (40, 40), (i, 2 * i, 3 * i)).save(tmp_path / "data" / f"{i}.png")
    kept = [o for o in without_encoder(tiny) if not o.startswith("data.")]
    run(
        "sample.py",
        *kept,
        "data=folder",
        f"data.root={tmp_path}/data",
        "guidance.gamma=0",
        "encoder=none",
    )
    assert len(pixels(tmp_path / "run")) == 4 and metrics(tmp_path / "run")["similarity"] is None


def without_encoder(tiny):
    return [o for o in tiny if not o.startswith("encoder.")]


# How often the encoder is asked, of three steps of which two are guided.
SEEN = {
    "dps": 2,
    "freedom": 4,
    "universal": 4 * (1 + 3),
    "mpgd": 2,
    "lgd": 2 * 4,
    "tfg": 2 * (1 + 2),
}


@pytest.fixture(scope="module")
def training_free(run, quick, weights, tmp_path_factory):
    """A sweep over the training-free methods."""
    folder = tmp_path_factory.mktemp("training_free")
    options = [*without_encoder(quick), f"encoder.clip={weights}/clip.safetensors"]
    methods = f"guidance={','.join(SEEN)}"
    run("sample.py", "-m", *options, methods, f"hydra.sweep.dir={folder}")
    return folder


@pytest.mark.parametrize("method", SEEN)
def test_training_free_methods_take_the_clean_encoder_by_themselves(training_free, method):
    (folder,) = (
        job["path"] for job in Jobs.jobs(training_free) if job["name"] == f"guidance={method}"
    )
    assert "encoder_name: clip\n" in (folder / "config.yaml").read_text()
    cost = metrics(folder)["cost_per_sample"]
    # All but MPGD go back through the denoiser each time that a guided step is taken.
    taken = 2 * {"freedom": 2, "universal": 2}.get(method, 1)
    assert cost["denoiser_forwards"] == taken + 1
    assert cost["denoiser_backwards"] == (0 if method == "mpgd" else taken)
    assert cost["encoder_forwards"] == cost["encoder_backwards"] == SEEN[method]
    assert cost["flops"] > 0 and cost["peak_memory"] > 0


def test_methods_side_by_side_end_in_one_table_and_one_picture(training_free):
    with open(training_free / "sweep.csv", newline="") as file:
        jobs = [row["job"] for row in csv.DictReader(file)]
    assert jobs == [f"guidance={method}" for method in SEEN]
    assert (training_free / "sweep.png").is_file()
    assert not (training_free / "curves.png").exists()


def test_several_references_of_the_command_line(run, tiny, tmp_path):
    for name in "ab":
        Image.new("L", (50, 40), ord(name)).save(tmp_path / f"{name}.png")
    run(
        "sample.py",
        *tiny,
        "similarity=[style]",
        f"similarity.style.reference=[{tmp_path}/a.png,{tmp_path}/b.png]",
        "samples_per_prompt=2",
    )
    assert [Path(row["style"]).stem for row in table(tmp_path / "run")] == list("aabb")


def test_references_of_a_folder_get_k_samples_each_and_stand_beside_them(run, tiny, tmp_path):
    (tmp_path / "references").mkdir()
    for name, colour in (("b", "red"), ("a", "blue")):
        Image.new("RGBA", (50, 40), colour).save(tmp_path / "references" / f"{name}.png")
    run(
        "sample.py",
        *tiny,
        "similarity=[content,style]",
        f"similarity.content.reference={tmp_path}/references",
        "samples_per_prompt=2",
    )
    rows = table(tmp_path / "run")
    assert [row["content"] for row in rows] == [
        f"{tmp_path}/references/{name}.png" for name in "aabb"
    ]
    assert [row["style"] for row in rows] == ["held-out 2"] * 2 + ["held-out 3"] * 2
    found = metrics(tmp_path / "run")
    assert (
        set(found["agreement"]) == set(found["mask_iou"]) == {"content", "style"}
        and found["similarity"] is None
    )
    assert (
        all(0 <= value <= 1 for value in found["mask_iou"].values())
        and found["diversity_judge"] > 0
    )
    kept = json.loads((tmp_path / "run" / "references.json").read_text())
    assert list(kept) == [
        f"{tmp_path}/references/a.png",
        "held-out 2",
        f"{tmp_path}/references/b.png",
        "held-out 3",
    ]
    for name, colour in (("a", (0, 0, 255)), ("b", (255, 0, 0))):
        with Image.open(tmp_path / "run" / kept[f"{tmp_path}/references/{name}.png"]) as picture:
            assert picture.size == (32, 32) and picture.getpixel((16, 16)) == colour
    page = (tmp_path / "run" / "report.html").read_text()
    assert (
        page.count('<figure class="reference">') == 4
        and page.count('alt="reference | content of a.png"') == 1
        and page.count('alt="reference | content of b.png"') == 1
        and page.count('alt="reference | style of held-out 2"') == 1
        and page.count('alt="reference | style of held-out 3"') == 1
    )
    # Two references and two samples are encoded at each of the two guided steps: four samples
    # twice, four distinct references twice.
    assert (
        found["cost_per_sample"]["encoder_forwards"] == 2 + 2
        and found["cost_per_sample"]["encoder_backwards"] == 2
    )


def test_all_similarities_at_once(run, tiny, tmp_path):
    run(
        "sample.py",
        *tiny,
        "similarity=[text,content,structure,style,class]",
        "prompt='a red heart | a ring:-0.5'",
        "similarity.class.name=large",
    )
    found = metrics(tmp_path / "run")
    assert {name for name, value in found["alignment"].items() if value is not None} == {
        "shape",
        "colour",
        "size",
        "all",
    }
    assert found["against"]["shape"] is not None and found["against"]["colour"] is None


def test_a_noisy_classifier_guides_to_a_class(run, tiny, weights, tmp_path):
    run(
        "sample.py",
        *without_encoder(tiny),
        "encoder=classifier_noisy",
        f"encoder.weights={weights}/classifier_noisy.safetensors",
        "similarity=[class]",
        "similarity.class.form=classifier",
        "similarity.class.name=[heart,red]",
    )
    assert [row["class"] for row in table(tmp_path / "run")] == ["heart", "heart", "red", "red"]


def test_an_image_to_start_from_and_a_trajectory(run, tiny, tmp_path):
    Image.new("L", (64, 48), 200).save(tmp_path / "start.png")
    run(
        "sample.py",
        *tiny,
        f"init_image={tmp_path}/start.png",
        "strength=0.5",
        "trajectory=2",
        "sampler.steps=8",
    )
    with Image.open(tmp_path / "run" / "trajectory.gif") as film:
        assert film.n_frames == 4  # half of the steps
    with Image.open(tmp_path / "run" / "trajectory.png") as strip:
        assert 1.3 < strip.width / strip.height < 1.8  # four guesses of two samples, labelled


@pytest.mark.slow
def test_two_processes_draw_the_same_samples_in_a_sweep_too(run, tiny, tmp_path):
    run("sample.py", *tiny[:-1], f"hydra.run.dir={tmp_path}/one")
    command = [
        sys.executable,
        "sample.py",
        "-m",
        *tiny[:-1],
        "data=shapes",
        "trainer=ddp_cpu",
        "trainer.precision=32-true",
        "seed=0,1",
        f"hydra.sweep.dir={tmp_path}/two",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (job["path"] for job in Jobs.jobs(tmp_path / "two"))
    assert np.abs(pixels(tmp_path / "one") - pixels(first)).max() <= 1
    assert [row["index"] for row in table(second)] == list("0123")
    assert len(list((first / "rows").glob("*.jsonl"))) == 2  # a batch for each process
    one, two = metrics(tmp_path / "one"), metrics(first)
    assert (
        two["similarity"] == pytest.approx(one["similarity"], rel=0.02)
        and two["alignment"] == one["alignment"]
    )


@pytest.mark.parametrize("program", ["train", "sample"])
def test_every_option_composes(program):
    text = (ROOT / "conf" / f"{program}.yaml").read_text()
    groups = set(re.findall(r"^  - (?:optional )?(\w+):", text, re.MULTILINE))
    assert {"data", "encoder", "trainer", "logger", "callbacks", "experiment"} < groups
    # test_schema.py composes the others; what is trained follows from the encoder.
    for group in groups - {*GROUPS[program], "similarity", "training"}:
        for file in (ROOT / "conf" / group).glob("*.yaml"):
            whose = file.read_text().splitlines()[1]  # of an experiment
            if group != "experiment" or f"python {program}.py" in whose:
                assert composed(program, (f"{group}={file.stem}",)) is not None


@pytest.mark.parametrize("setting, mode", [("true", None), ("reduce-overhead", "reduce-overhead")])
def test_networks_are_compiled_in_the_mode_that_is_asked_for(
    run, tiny, tmp_path, monkeypatch, setting, mode
):
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: asked.append(options))
    run("sample.py", *tiny, f"compile={setting}", f"hydra.run.dir={tmp_path}/run")
    assert asked == [{"mode": mode}] * 2  # denoiser and encoder
