"""One weight format: what goes in comes out, and what is no such file is refused by its path."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sdg.errors import UserError
from sdg.io.weights import read_weights, save
from sdg.models.build import build_denoiser
from sdg.models.classifier import NoisyClassifier
from sdg.models.clip import CLIP
from sdg.models.judge import Judge
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.registry import (
    load_classifier,
    load_clip,
    load_clip_noisy,
    load_denoiser,
    load_judge,
)

CONFIG = {
    "kind of": "thing",
    "sizes": [1, 2],
    "nested": {"rate": 0.5, "none": None},
    "word": "naïve",
}
NETWORK = {
    "block_out_channels": [8, 8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"] * 2,
    "up_block_types": ["UpBlock2D"] * 2,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}
VISION = {
    "timm_model_name": "resnet_tiny",
    "timm_pool": "avg",
    "timm_proj": "linear",
    "image_size": 32,
}
TEXT = {"context_length": 6, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}


def module():
    torch.manual_seed(0)
    result = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    nn.init.normal_(result[1].running_mean)
    return result


def images(n):
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def file(tmp_path):
    return save(tmp_path / "model.safetensors", "clip", module(), CONFIG)


# --- there and back -----------------------------------------------------------------------------


def test_full_precision_comes_back_bit_for_bit(file):
    config, tensors = read_weights(file, "clip")
    assert config == CONFIG
    assert tensors.keys() == module().state_dict().keys()
    for name, value in module().state_dict().items():
        assert torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype


def test_half_precision_rounds_matrices_and_keeps_vectors_and_counters(tmp_path):
    file = save(tmp_path / "half.safetensors", "clip", module(), CONFIG, half=True)
    config, tensors = read_weights(file, "clip")
    other = module()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(tensors)
    assert config == CONFIG
    for name, value in module().state_dict().items():
        back = other.state_dict()[name]
        assert back.dtype == value.dtype  # into a float32 model it comes back as float32
        assert torch.equal(back, value.half().to(value.dtype) if value.ndim > 1 else value)
        assert (tensors[name].dtype == torch.float16) == (value.ndim > 1)


def test_half_precision_halves_the_file(tmp_path):
    layer = nn.Linear(500, 500)
    full, half = (
        save(tmp_path / f"{half}.safetensors", "clip", layer, {}, half=half).stat().st_size
        for half in (False, True)
    )
    assert 0.49 < half / full < 0.52


def test_half_precision_leaves_tables_of_integers_alone(tmp_path):
    layer = nn.Linear(2, 2)
    layer.register_buffer("table", torch.tensor([[4099, 70000]]))  # neither is a float16
    tensors = read_weights(
        save(tmp_path / "half.safetensors", "clip", layer, {}, half=True), "clip"
    )[1]
    assert tensors["table"].tolist() == [[4099, 70000]]


def test_channels_last_modules_can_be_saved(tmp_path):
    layer = module().to(memory_format=torch.channels_last)
    tensors = read_weights(save(tmp_path / "model.safetensors", "clip", layer, {}), "clip")[1]
    assert torch.equal(tensors["0.weight"], module()[0].weight)


def test_missing_folders_are_made(tmp_path):
    assert save(tmp_path / "a" / "b" / "model.safetensors", "clip", module(), CONFIG).is_file()


def test_every_kind_of_model_rebuilds_from_its_file_alone(tmp_path):
    torch.manual_seed(0)
    x, t = images(2), torch.tensor([3, 70])
    denoiser = build_denoiser(
        {"prediction": "v", "patch": 2, "network": NETWORK}, {"kind": "cosine", "T": 100}, 32
    ).eval()
    clip = CLIP({"embed_dim": 8, "vision_cfg": VISION, "text_cfg": TEXT}, ["a", "ring"]).eval()
    noisy = NoiseAwareEncoder(
        clip.towers.visual, clip.config, {"kind": "cosine", "T": 100}, 16, 16
    ).eval()
    nn.init.normal_(noisy.time[-1].weight, std=0.1)
    noisy.logit_scale.fill_(31.0)
    judge = Judge("resnet_tiny", {"shape": 3, "colour": 2}).eval()
    classifier = NoisyClassifier(
        clip.config,
        {"kind": "cosine", "T": 100},
        {"shape": ["ring", "star"], "colour": ["red"]},
        16,
        16,
    ).eval()
    for kind, model, load, ask in (
        ("denoiser", denoiser, load_denoiser, lambda m: m(x, t)[0]),
        (
            "clip",
            clip,
            load_clip,
            lambda m: torch.cat([m.encode_image(x), m.encode_text(["a ring"])]),
        ),
        ("clip_noisy", noisy, load_clip_noisy, lambda m: m.encode_image(x, t) * m.logit_scale),
        ("classifier_noisy", classifier, load_classifier, lambda m: m(x, t)),
        (
            "judge",
            judge,
            load_judge,
            lambda m: torch.cat([*m(x)[0].values(), m(x)[1].flatten(1)], 1),
        ),
    ):
        loaded = load(save(tmp_path / f"{kind}.safetensors", kind, model, model.config))
        torch.testing.assert_close(ask(loaded), ask(model), rtol=0, atol=1e-5)
        assert not loaded.training and not any(
            parameter.requires_grad for parameter in loaded.parameters()
        )


# --- refusals, each with the path in it ---------------------------------------------------------


def refused(file, message, kind="clip"):
    with pytest.raises(UserError, match=message) as error:
        read_weights(file, kind)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_missing_file_is_refused(tmp_path):
    refused(tmp_path / "nowhere.safetensors", "no weights at")
    refused(tmp_path, "has no config.json with `sdg`")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_truncated_file_is_refused(file, keep):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    refused(file, "damaged")


def test_other_formats_are_refused_without_being_executed(tmp_path, file):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    file.write_bytes(pickle.dumps(Trap()))
    refused(file, "no safetensors file")
    torch.save(module().state_dict(), file)
    refused(file, "no safetensors file")
    assert not (tmp_path / "sprung").exists()


def test_file_without_our_header_is_refused(tmp_path):
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(2)}, str(tmp_path / "foreign.safetensors"), metadata)
        refused(tmp_path / "foreign.safetensors", "no `sdg` header")


@pytest.mark.parametrize(
    "header",
    ["not json", "3", "[]", "{}", json.dumps({"config": {}}), json.dumps({"kind": "clip"})],
)
def test_header_that_is_not_ours_is_refused(tmp_path, header):
    save_file({"weight": torch.zeros(2)}, str(tmp_path / "odd.safetensors"), {"sdg": header})
    refused(tmp_path / "odd.safetensors", "weights")


def test_another_kind_of_model_is_refused(file):
    refused(file, "are of the kind clip; the kind denoiser is needed", "denoiser")


def test_weights_that_do_not_fit_their_own_header_are_refused(tmp_path):
    judge = Judge("resnet_tiny", {"shape": 3})
    file = save(
        tmp_path / "judge.safetensors",
        "judge",
        judge,
        {"model_name": "resnet_tiny", "factors": {"shape": 4}},
    )
    with pytest.raises(UserError, match="do not fit") as error:
        load_judge(file)
    assert str(file) in str(error.value)
