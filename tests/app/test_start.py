"""How a command starts: what it imports, and what it answers before that."""

import io
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from sdg.app.cli import print_any_text
from sdg.app.explaining import explain
from sdg.io.shipped import CONF

SAMPLE = """
import sys
sys.path.insert(0, {root!r})
sys.argv = ["sample.py", *{words!r}]
import sample
try:
    sample.main()
finally:
    print("imported", *sorted({{"torch", "torch._inductor", "wandb"}} & set(sys.modules)))
"""


def sampled(*words: str) -> subprocess.CompletedProcess:
    """A run of `sample.py` in a process of its own, which ends by naming what it has imported."""
    code = SAMPLE.format(root=str(ROOT), words=list(map(str, words)))
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("program", ["sample", "train"])
@pytest.mark.parametrize(
    ("root", "says"),
    [
        ([], "error: data.root must be given: data.root=…, a folder of images.\n"),
        (["data.flip=2"], "error: data.flip must be true or false, not 2.\n"),
        (["data.root=none"], "error: data.root: there is no folder 'none'; set data.root=PATH.\n"),
    ],
)
def test_a_folder_of_images_that_is_not_given_is_asked_for_first(program, root, says):
    answer = subprocess.run(
        [sys.executable, f"{program}.py", "data=folder", *root],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (1, "", says)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("prompt=a red zebra", "does not know the word 'zebra'"),
        ("prompts=none.txt", "cannot read none.txt"),
        ("init_image=none.png", "there is no image none.png"),
        ("denoiser.weights=none.safetensors", "denoiser.weights: no weights at none.safetensors"),
        ("sampler.steps=0", "at least 1"),
    ],
)
def test_wrong_input_is_answered_without_torch(word, says):
    answer = sampled("data=shapes", word)
    assert answer.returncode == 1 and says in answer.stderr
    assert answer.stdout.splitlines()[-1].split() == ["imported"]


def test_a_reference_that_is_missing_is_answered_without_torch():
    name = "similarity.style.reference"
    answer = sampled("data=shapes", "similarity=[style]", f"{name}=none.png|other.png")
    assert f"{name}: there is no image none.png" in answer.stderr
    assert answer.stdout.splitlines()[-1].split() == ["imported"]


@pytest.fixture(scope="module")
def finished(quick, tmp_path_factory):
    """The words of a run that has ended, and its first output."""
    words = [*quick, "data=shapes", f"hydra.run.dir={tmp_path_factory.mktemp('start')}/run"]
    return words, sampled(*words)


def figures(text: str) -> list[str]:
    return [line for line in text.splitlines() if " shown in " in line or "seconds" in line]


def test_a_run_imports_neither_the_compiler_nor_wandb(finished):
    _, first = finished
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1].split() == ["imported", "torch"]


def test_a_finished_run_tells_its_figures_without_torch(finished):
    words, first = finished
    again = sampled(*words)
    assert again.stdout.splitlines()[-1].split() == ["imported"]
    assert figures(again.stdout) == figures(first.stdout) != []


@pytest.mark.slow
def test_a_finished_run_is_looked_at_in_full_where_anything_differs(finished, tmp_path):
    words, _ = finished
    folder = next(word for word in words if word.startswith("hydra.run.dir=")).partition("=")[2]
    assert "torch" in sampled(*words, "eval.bootstrap=10").stdout.splitlines()[-1]
    note = json.loads(open(f"{folder}/rows/finished.json").read())
    assert set(note) == {"inputs", "outputs"}
    assert sampled(*words, "eval.bootstrap=10").stdout.splitlines()[-1].split() == ["imported"]
    assert "torch" in sampled(*words).stdout.splitlines()[-1]


@pytest.mark.slow
def test_the_stand_ins_give_way_to_the_compiler_when_it_is_asked_for():
    code = """
from sdg.app.importing import defer_compiler
defer_compiler()
import sys, torch, pytorch_lightning.utilities.compile as lightning
assert "torch._inductor" not in sys.modules
net = torch.nn.Linear(2, 2)
compiled = torch.compile(net, backend="eager")
same = torch.equal(compiled(torch.ones(1, 2)), net(torch.ones(1, 2)))
kinds = [isinstance(each, lightning.OptimizedModule) for each in (net, compiled)]
print(same, kinds, torch._dynamo.config.__name__)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "[False,", "True]", "torch._dynamo.config"]


def test_text_that_no_file_can_hold_is_refused_at_once():
    ran = sampled("hydra.run.dir=outputs/x\udcff")
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    assert "error: 'hydra.run.dir=outputs/x\\udcff' holds bytes that are no utf-8" in ran.stderr


def test_a_terminal_that_lacks_a_sign_gets_an_escape(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    print_any_text()
    print("γ = 30, x\udcff", flush=True)
    assert terminal.buffer.getvalue() == b"\\u03b3 = 30, x\\udcff\n"


def test_a_library_that_may_not_write_is_quoted():
    said = explain(PermissionError("Unable to write to /x.\nset WANDB_DATA_DIR"), CONF, "sample")
    assert said == "Unable to write to /x. set WANDB_DATA_DIR"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--help"], marks=pytest.mark.slow),
        pytest.param(["--cfg", "job"], marks=pytest.mark.slow),
        ["data=shapes", "prompt=a red zebra"],
    ],
)
def test_a_plain_start_answers_the_same(monkeypatch, words):
    quick = sampled(*words)
    monkeypatch.setenv("SDG_QUICK_START", "0")
    plain = sampled(*words)
    assert plain.stderr == quick.stderr and before_the_list_of_imports(
        plain
    ) == before_the_list_of_imports(quick)


def before_the_list_of_imports(run: subprocess.CompletedProcess) -> str:
    return run.stdout.partition("imported")[0]


@pytest.mark.slow
def test_a_plain_start_imports_what_torch_and_lightning_import():
    code = "from sdg.app.importing import quick_imports\nwith quick_imports(False):\n import torch"
    code += "\nimport sys\nprint(type(sys.modules.get('torch._dynamo')).__name__)"
    answers = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "SDG_QUICK_START": value},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for value in ("1", "0")
    ]
    assert answers[0] == "StandIn" and answers[1] != "StandIn"
