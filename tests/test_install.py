"""The wheel, installed where there is no checkout, works from an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("conf", "src", "weights", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml")
QUICK = ("data=shapes", "num_samples=2", "sampler.steps=3", "data.held_out=64", "eval.real=64")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the sources, so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    shutil.copy(ROOT / "setup.py", folder)
    (folder / "weights/portraits/clip_contrastive.safetensors").touch()
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", *offline, "-w", folder / "dist", folder],
        check=True,
    )
    (file,) = (folder / "dist").glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of a new environment's commands; libraries come from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    python = folder / "bin" / "python"
    install = ["pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, "-m", *install], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    libraries = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (packages / "libraries.pth").write_text("\n".join(sorted(libraries)))
    return folder / "bin"


@pytest.fixture
def start(installed, tmp_path):
    """Runs an installed command in an empty folder; returns what it printed."""
    (tmp_path / "empty").mkdir()
    left_out = ("PYTHONPATH", "SDG_CACHE")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "caches")

    def run(name: str, *arguments: str, **more: str) -> str:
        result = subprocess.run(
            [installed / name, *arguments],
            cwd=tmp_path / "empty",
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout

    return run


def test_the_wheel_holds_what_the_commands_need_and_no_more(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    settings = {str(file.relative_to(ROOT)) for file in ROOT.glob("conf/**/*.yaml")}
    assert {f"sdg/{name}" for name in settings} <= names
    assert {"sdg/py.typed", "hydra_plugins/sdg_search/search.py"} <= names
    assert "sdg/weights/portraits/denoiser.safetensors" in names
    assert not [name for name in names if "clip_contrastive" in name]
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "hydra_plugins",
        "sdg",
    }


def test_a_guided_sample_from_an_empty_folder(start, installed, tmp_path):
    place = start("python", "-c", "import sdg; print(sdg.__file__)").strip()
    assert Path(place).is_relative_to(installed.parent)
    told = start("sdg-sample", *QUICK)
    (run,) = (tmp_path / "empty/outputs/sample").iterdir()
    assert told.rstrip().endswith(f"results: {run}")
    assert len(list((run / "images").glob("*.png"))) == 2
    assert {"grid.png", "metrics.json", "samples.csv", "report.html"} <= set(os.listdir(run))
    # The rendered data lies in the user's cache, not in the folder that the command ran in.
    assert os.listdir(tmp_path / "empty") == ["outputs"]
    assert os.listdir(tmp_path / "empty/outputs") == ["sample"]
    assert {"shapes", "real"} <= set(os.listdir(tmp_path / "caches/sdg"))
    # The same command finds its run again, wherever its caches are.
    again = start("sdg-sample", *QUICK, SDG_CACHE=str(tmp_path / "other"))
    assert "1 of 1 batches are drawn already" in again and again.rstrip().endswith(str(run))


def test_help_and_plugins_answer(start):
    for name in ("sample", "train"):
        told = start(f"sdg-{name}", "--help")
        assert f"sdg-{name} " in told and f"python {name}.py" not in told
    assert "sdg-checkpoints" in start("sdg-checkpoints", "--help")
    assert "\t\tSearch\n" in start("sdg-sample", "--info", "plugins")


def test_settings_of_ones_own_and_errors_that_name_the_installed_command(start, tmp_path):
    own = tmp_path / "mine/experiment"
    own.mkdir(parents=True)
    (own / "own.yaml").write_text("# @package _global_\nguidance: {gamma: 7}\n")
    asked = ("data=shapes", "experiment=own", "--cfg", "job")
    told = start("sdg-sample", f"--config-dir={own.parent}", *asked)
    assert "gamma: 7" in told
    said = start("python", "-c", "from sdg.io.shipped import program; print(program('train'))")
    assert said == "sdg-train\n"


def test_shipped_weights_are_found_by_their_path(start, tmp_path):
    assert "a denoiser" in start(
        "sdg-checkpoints", "inspect", "weights/shapes/denoiser.safetensors"
    )
    own = tmp_path / "empty/weights/shapes/denoiser.safetensors"
    own.parent.mkdir(parents=True)
    shutil.copy(ROOT / "weights/shapes/clip.safetensors", own)
    assert "a clip" in start("sdg-checkpoints", "inspect", "weights/shapes/denoiser.safetensors")
