"""Shared by the tests: tiny untrained weights, and the two commands run inside this process."""

import importlib.util
import multiprocessing
import signal
import socket
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from sdg.app import explaining
from sdg.data.captions import FACTORS, WORDS
from sdg.io.files import sha256_of
from sdg.io.published_files import ALEXNET, Published
from sdg.io.weights import save
from sdg.models.build import build_denoiser
from sdg.models.classifier import NoisyClassifier
from sdg.models.clip import CLIP
from sdg.models.judge import Judge
from sdg.models.noise_aware import NoiseAwareEncoder

# A shell ignores it for what it runs in the background, and so would the programs under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The keys of the default configs are the same for each message that names the nearest.
explaining.config_keys = cache(explaining.config_keys)

ROOT = Path(__file__).resolve().parent.parent

NETWORK = {
    "block_out_channels": [16, 16],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"] * 2,
    "up_block_types": ["UpBlock2D"] * 2,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}
CLIP_MODEL = {
    "embed_dim": 16,
    "vision_cfg": {
        "timm_model_name": "resnet_tiny",
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 32,
    },
    "text_cfg": {"context_length": 20, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A folder of untrained weight files, as small as they get."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    denoiser = build_denoiser(
        {"prediction": "v", "patch": 2, "network": NETWORK}, {"kind": "cosine", "T": 1000}, 32
    )
    clip = CLIP(CLIP_MODEL, WORDS)
    noisy = NoiseAwareEncoder(
        clip.towers.visual, clip.config, {"kind": "cosine", "T": 1000}, 32, 32
    )
    noisy.logit_scale.copy_(clip.logit_scale.detach())
    judge = Judge("resnet_tiny", {name: len(values) for name, values in FACTORS.items()})
    classifier = NoisyClassifier(clip.config, {"kind": "cosine", "T": 1000}, FACTORS, 32, 32)
    for kind, model in (
        ("denoiser", denoiser),
        ("clip", clip),
        ("clip_noisy", noisy),
        ("judge", judge),
        ("classifier_noisy", classifier),
    ):
        save(folder / f"{kind}.safetensors", kind, model, model.config)
    return folder


@pytest.fixture(scope="session")
def inception(tmp_path_factory):
    """A file of untrained weights of torch-fidelity's Inception-v3.

    Beside it, the network that it was made from.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    made, load = object.__new__(FeatureExtractorInceptionV3), torch.load
    try:  # its constructor wants weights: those that it starts with are as good as any
        torch.load = lambda *_, **__: made.state_dict()
        made.__init__("made", ["2048"], feature_extractor_weights_path=__file__)
    finally:
        torch.load = load
    file = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save(made.state_dict(), file)
    return file, made


@pytest.fixture
def alexnet(tmp_path, monkeypatch) -> Path:
    """The file of untrained weights of AlexNet in a hub cache, published for the time of a test."""
    import torchvision

    file = tmp_path / "hub" / "checkpoints" / ALEXNET.name
    file.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), file)
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
        "data.cache=null",
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
    spec = importlib.util.spec_from_file_location(
        script.removesuffix(".py") + "_script", ROOT / script
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    argv, sys.argv, threads = (
        sys.argv,
        [str(ROOT / script), *with_defaults(arguments)],
        torch.get_num_threads(),
    )
    try:
        GlobalHydra.instance().clear()
        module.main()
    finally:
        sys.argv = argv
        torch.set_num_threads(
            threads
        )  # a run of several processes leaves this one with its share of them


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


def pytest_sessionfinish() -> None:
    """Ends readers of data that a failed training has left, for which Python would wait."""
    for reader in multiprocessing.active_children():
        reader.kill()
