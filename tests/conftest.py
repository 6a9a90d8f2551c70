"""Shared by the tests: tiny untrained weights, and the two commands run inside this process.

torch and the networks are imported where they are used: the process that only hands the tests out
starts without them.
"""

import gc
import importlib.util
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader

from sdg.app import explaining
from sdg.io.files import sha256_of

# A shell and nohup ignore these for what they start, and so would the programs under test.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The keys of the default configs are the same for each message that names the nearest.
explaining.config_keys = cache(explaining.config_keys)


@cache
def parsed(text: str):
    """What a YAML file holds; hundreds of runs read the same ones."""
    return yaml.load(text, Loader=get_yaml_loader())


def load_config(file):
    """OmegaConf.load, which parses a text once."""
    text = file.read() if hasattr(file, "read") else Path(file).read_text(encoding="utf-8")
    return OmegaConf.create(parsed(text) or {})


OmegaConf.load = load_config

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(tempfile.gettempdir(), f"sdg-tests-{os.getpid()}")  # of rendered images


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A folder of untrained weight files, as small as they get."""
    from untrained import save_parts

    folder = tmp_path_factory.mktemp("weights")
    save_parts(folder)
    return folder


@pytest.fixture(scope="session")
def inception(tmp_path_factory):
    """A file of untrained weights of torch-fidelity's Inception-v3.

    Beside it, the network that it was made from.
    """
    from untrained import save_inception

    file = tmp_path_factory.mktemp("inception") / "inception.pth"
    return file, save_inception(file)


@pytest.fixture
def alexnet(tmp_path, monkeypatch) -> Path:
    """The file of untrained weights of AlexNet in a hub cache, published for the time of a test."""
    from untrained import save_alexnet

    from sdg.io.published_files import ALEXNET, Published

    file = tmp_path / "hub" / "checkpoints" / ALEXNET.name
    file.parent.mkdir(parents=True)
    save_alexnet(file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    own = Published(ALEXNET.address, sha256_of(file))
    monkeypatch.setattr("sdg.evaluation.published_networks.ALEXNET", own)
    return file


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def quick(weights) -> list[str]:
    """Overrides that make `sample.py` quick: tiny weights, few steps, little data, no reading."""
    return [
        f"denoiser.weights={weights}/denoiser.safetensors",
        f"encoder.weights={weights}/clip_noisy.safetensors",
        f"encoder.clip={weights}/clip.safetensors",
        f"eval.clip={weights}/clip.safetensors",
        f"eval.judge={weights}/judge.safetensors",
        "eval.reading=false",
        "sampler.steps=3",
        "num_samples=4",
        "data.held_out=32",
        f"data.cache={CACHE}",
    ]


@pytest.fixture
def tiny(quick, tmp_path) -> list[str]:
    """The same, and a folder for the run behind them."""
    return [*quick, f"hydra.run.dir={tmp_path}/run"]


def with_defaults(arguments) -> list[str]:
    """The arguments, with the shapes as data and float32 unless they choose their own.

    An experiment may choose the data for them. float32 is the same on every machine.
    """
    words = [*map(str, arguments)]
    own = ("data=", "experiment=paper", "experiment=ddpm", "experiment=emoji", "--help")
    if not any(word.startswith(own) for word in words):
        words.append("data=shapes")
    if not any(word.startswith(("trainer.precision=", "trainer=", "--help")) for word in words):
        words.append("trainer.precision=32-true")
    return words


def command(script: str, *arguments: str) -> None:
    """Runs `python <script> <arguments>` inside this process, on the shapes unless said otherwise.

    What would end the process raises SystemExit.
    """
    import torch

    spec = importlib.util.spec_from_file_location(
        script.removesuffix(".py") + "_script", ROOT / script
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    argv, threads = sys.argv, torch.get_num_threads()
    sys.argv = [str(ROOT / script), *with_defaults(arguments)]
    try:
        GlobalHydra.instance().clear()
        module.main()
    finally:
        sys.argv = argv
        # A run of several processes leaves this one with its share of the threads.
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def run():
    return command


@pytest.fixture
def refusal(capsys):
    """Runs a command that must fail; returns the one line that it ends with."""

    def refused(script: str, *arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            command(script, *arguments)
        message = str(stop.value.code)
        assert message.startswith("error: ") and "\n" not in message, message
        assert "Traceback" not in capsys.readouterr().err
        return message

    return refused


def pytest_collection_finish() -> None:
    """Sets what is imported aside: each collection of garbage would look through it again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Removes rendered images, and ends readers of data that a failed training has left.

    Python would wait for those.
    """
    for reader in multiprocessing.active_children():
        reader.kill()
    shutil.rmtree(CACHE, ignore_errors=True)
