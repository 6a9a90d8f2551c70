"""What a new user sees: the first line, the help, and the command that a page repeats."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdg.app.opening import shell_command

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def helps():
    """{program: the text of its `--help`, and whether it imported torch}."""
    texts = {}
    for program in ("sample", "train"):
        code = (
            "import atexit, runpy, sys; atexit.register(lambda: print('torch' in sys.modules)); "
            f"sys.argv = ['{program}.py', '--help']; "
            f"runpy.run_path('{program}.py', run_name='__main__')"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        texts[program] = done.stdout
    return texts


def listed(text):
    """{group: its options, as the help lists them}."""
    found = re.findall(r"^  (\w+)  .*\n {15}(.+)$", text, re.MULTILINE)
    return {group: options.split(", ") for group, options in found}


def test_help_shows_the_groups_of_its_program_and_together_every_option(helps):
    groups = {program: listed(text) for program, text in helps.items()}
    assert {"similarity", "guidance", "sampler", "eval"} <= set(groups["sample"])
    assert not {"similarity", "guidance", "sampler", "eval"} & set(groups["train"])
    for text in helps.values():
        assert "recipe" not in text and "callbacks" not in text
    for group in set(groups["sample"]) | set(groups["train"]):
        options = [listed(text).get(group, []) for text in helps.values()]
        files = {file.stem for file in (ROOT / "conf" / group).glob("*.yaml")}
        assert set().union(*options) == files, group
    assert "csv" not in groups["sample"]["logger"]  # which sampling refuses


@pytest.mark.parametrize(
    "program, says", [("sample", "guidance.gamma=5"), ("train", "encoder=clip_noisy")]
)
def test_help_needs_no_heavy_library(helps, program, says):
    assert says in helps[program] and helps[program].rstrip().endswith("False")


def test_help_lists_an_experiment_with_the_program_that_it_names(helps):
    for file in (ROOT / "conf" / "experiment").glob("*.yaml"):
        program = re.search(r"python (\w+)\.py", file.read_text().splitlines()[1])[1]
        assert file.stem in listed(helps[program])["experiment"]


def test_what_a_command_takes_comes_first(helps):
    assert listed(helps["sample"])["guidance"][0] == "sdg"
    assert listed(helps["sample"])["similarity"][0] == "text"
    assert listed(helps["train"])["denoiser"][0] == "unet"


def test_the_first_line_comes_before_the_heavy_libraries():
    code = (
        "import runpy, sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'torch': raise SystemExit('torch')\n"
        "sys.meta_path.insert(0, Stop())\n"
        "sys.argv = ['sample.py', 'data=shapes', 'guidance.gamma=7', 'sampler.steps=5']\n"
        "runpy.run_path('sample.py', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "sample: shapes, text, γ = 7, 5 steps …\n"
    assert done.stderr == "torch\n"


@pytest.mark.parametrize(
    "word, says",
    [
        ("prompt=a,b", "prompt=a,b are several: one run with all of them is prompt=[a,b]"),
        ("prompt=a heart (red)", "prompt=a heart (red) cannot be read"),
        ("prompt=it's", "prompt=it's cannot be read"),
        ("dog", "'dog' is no setting: write key=value"),
    ],
)
def test_a_word_that_cannot_be_read_is_named(refusal, word, says):
    assert says in refusal("sample.py", word)


@pytest.mark.parametrize(
    "program, word, says",
    [
        ("sample.py", "gamma=5", "did you mean 'guidance.gamma'?"),
        ("sample.py", "module.negative_weight=1", "a setting of train.py, not of sample.py"),
        ("train.py", "data.hard_negatives=4", "a setting of data=portraits"),
    ],
)
def test_a_setting_that_is_not_here_is_said_to_be_where_it_is(refusal, program, word, says):
    assert says in refusal(program, "data=shapes", word)


def test_a_command_is_repeated_as_a_shell_takes_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py")])
    monkeypatch.chdir(ROOT)
    words = ['prompt=it\'s "red"', "hydra.mode=MULTIRUN", "num_samples=2"]
    command = shell_command("sample", words)
    assert shlex.split(command) == ["python", "sample.py", words[0], words[2]]
    assert shell_command("sample", ["a=1,2"], sweep=True) == "python sample.py -m a=1,2"
    monkeypatch.setattr(sys, "argv", ["/some/where/train.py"])  # from another folder
    assert shell_command("sample", []) == "python /some/where/sample.py"
    monkeypatch.setattr(sys, "argv", ["/bin/sdg-train"])
    assert shell_command("sample", []) == "sdg-sample"


def pixels(folder):
    return np.stack([np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))])


@pytest.mark.slow
def test_unguided_samples_of_the_same_seeds_stand_beside_when_asked_or_there(
    run, tiny, tmp_path, capsys
):
    *settings, _ = tiny
    run("sample.py", *tiny, "guidance.gamma=5", "unguided=true")
    asked = tmp_path / "run"
    assert shlex.split((asked / "command.txt").read_text())[:2] == ["python", "sample.py"]
    assert (asked / "report.html").read_text().count('class="sample') == 4
    assert (asked / "report.html").read_text().count('alt="without guidance') == 4
    sweep = [*settings, f"hydra.sweep.dir={tmp_path}/sweep", "guidance.gamma=0,5", "-m"]
    run("sample.py", *sweep)
    places = {file.parent for file in (tmp_path / "sweep").glob("*/metrics.json")}
    guided = next(p for p in places if "gamma: 5" in (p / "config.yaml").read_text())
    (other,) = places - {guided}
    assert (guided / "report.html").read_text().count('alt="without guidance') == 4
    assert not (guided / "unguided").exists()
    assert "without guidance" not in (other / "report.html").read_text()
    assert np.array_equal(pixels(asked / "unguided" / "images"), pixels(other / "images"))
    assert np.array_equal(pixels(asked / "images"), pixels(guided / "images"))
    capsys.readouterr()
    run("sample.py", *tiny, "guidance.gamma=5")  # it is there already, and not drawn again
    assert "without guidance, unguided=true" not in capsys.readouterr().out
