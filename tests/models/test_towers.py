"""Full architectures of open_clip and timm, with random weights.

At another resolution, made noise-aware, computed again.
"""

import copy
import time

import open_clip
import pytest
import torch

from sdg.errors import UserError
from sdg.models.clip import CLIP
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.published_clips import clip_by_name
from sdg.models.stages import blocks, stages
from sdg.models.towers import OWN_HEAD, at_resolution, image_tower, interpolated

SCHEDULE = {"kind": "linear", "T": 1000}
TEXT = {"context_length": 8, "vocab_size": 8, "width": 16, "heads": 2, "layers": 1}
RESNET = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": TEXT,
}  # 16 heads of 16
VIT = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": TEXT,
}
SIGLIP = {
    "embed_dim": 192,
    "vision_cfg": {
        "image_size": 224,
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": TEXT,
}
TIMM = {
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": 224,
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_proj": OWN_HEAD,
    },
    "text_cfg": None,
}
SMALL = {"OpenAI's ResNet": RESNET, "ViT": VIT, "timm's ViT": TIMM}


def randomised(module):
    """No weight at zero or one: a norm's, a position's."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()


def noise_aware(model, tower):
    return NoiseAwareEncoder(tower, {"model": model, "words": []}, SCHEDULE).eval()


@pytest.mark.parametrize("model", SMALL.values(), ids=SMALL.keys())
@pytest.mark.parametrize("resolution", [1, 2])
def test_the_copy_starts_as_the_tower_at_another_resolution_too(model, resolution):
    size = model["vision_cfg"]["image_size"] * resolution
    resized, tower = at_resolution(model, randomised(image_tower(model)), size)
    encoder, x = noise_aware(resized, tower), torch.randn(2, 3, size, size)
    assert encoder.resolution == size
    with torch.no_grad():
        expected = torch.nn.functional.normalize(tower.eval()(encoder.normalise(x)), dim=-1)
        for t in (0, 500, 999):
            torch.testing.assert_close(encoder.encode_image(x, torch.full((2,), t)), expected)
    weights, first = tower.state_dict(), image_tower(model).state_dict()
    assert [name for name in weights if weights[name].shape != first[name].shape] == (
        [] if resolution == 1 else [next(name for name in weights if "pos" in name)]
    )


def test_positions_that_vary_linearly_stay_so_within_the_grid():
    """Row and column indices, interpolated from 4 × 4 to 8 × 8 places.

    Their centres lie at (i + ½)/2 − ½; the edges' replicas aside.
    """
    at = torch.arange(4.0)
    positions = torch.cat(
        [
            torch.full((1, 2), 7.0),
            torch.stack(torch.meshgrid(at, at, indexing="ij"), -1).view(16, 2),
        ]
    )
    found = interpolated(positions, torch.Size([65, 2]))
    assert torch.equal(found[0], positions[0])
    torch.testing.assert_close(
        found[1:].view(8, 8, 2)[3:5, 3:5, 0],
        ((torch.arange(8.0) + 0.5) / 2 - 0.5)[3:5, None].expand(2, 2),
        atol=1e-5,
        rtol=0,
    )
    torch.testing.assert_close(
        found[1:].view(8, 8, 2)[3:5, 3:5, 1],
        ((torch.arange(8.0) + 0.5) / 2 - 0.5)[None, 3:5].expand(2, 2),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("model, size", [(RESNET, 16), (VIT, 4)])
def test_a_size_that_a_tower_does_not_take_is_refused(model, size):
    with pytest.raises(UserError, match=f"takes no images of {size} pixels a side"):
        at_resolution(model, image_tower(model), size)


@pytest.mark.parametrize("model", SMALL.values(), ids=SMALL.keys())
def test_recomputed_gradients_are_the_same_and_so_are_running_statistics(model):
    torch.manual_seed(0)
    size = model["vision_cfg"]["image_size"]
    kept = noise_aware(model, randomised(image_tower(model))).train()
    torch.nn.init.normal_(kept.time[-1].weight, std=0.1)
    again = copy.deepcopy(kept)
    again.checkpointing = True
    x, t, found = torch.randn(4, 3, size, size), torch.tensor([3, 400, 700, 999]), []
    passes = {encoder: [] for encoder in (kept, again)}
    for encoder in (kept, again):
        *_, inner, _ = (
            module
            for module in blocks(encoder.tower)[1].modules()
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
        )
        inner.register_forward_hook(lambda *_, encoder=encoder: passes[encoder].append(None))
        image = x.clone().requires_grad_(True)
        encoder.encode(image, t, list(stages(encoder.tower))[:1]).z[:, 0].sum().backward()
        found.append([image.grad, *(p.grad for p in encoder.parameters()), *encoder.buffers()])
    for one, other in zip(*found, strict=True):
        assert (one is None and other is None) or torch.allclose(one, other, rtol=1e-5, atol=1e-7)
    assert len(passes[kept]) == 1 and len(passes[again]) == 2  # it is computed again, once
    copy.deepcopy(again)  # no graph is left in it


@pytest.mark.parametrize(
    "model, frozen, gone, left",
    [
        (
            RESNET,
            ["stem", "layer1"],
            ["conv1", "bn3.norm", "layer1.0.conv1"],
            ["layer2.0.conv1", "attnpool.q_proj"],
        ),
        (VIT, ["resblocks.0"], ["transformer.resblocks.0"], ["conv1", "transformer.resblocks.1"]),
        (TIMM, ["blocks.3"], ["trunk.blocks.3"], ["trunk.blocks.4", "trunk.patch_embed"]),
    ],
)
def test_frozen_stages_keep_their_weights_and_are_told_t_all_the_same(model, frozen, gone, left):
    encoder = noise_aware(model, image_tower(model))
    encoder.freeze(frozen)
    trained = {
        name for name, parameter in encoder.tower.named_parameters() if parameter.requires_grad
    }

    def trains(part: str) -> bool:
        return any(name.startswith(f"{part}.") for name in trained)

    assert not any(map(trains, gone)) and all(map(trains, left))
    assert all(parameter.requires_grad for parameter in encoder.time.parameters())
    with pytest.raises(UserError, match="encoder.freeze must be one of .* not 'layer9'"):
        encoder.freeze(["layer9"])


def test_a_clean_clip_scales_images_as_torch_does():
    clip, x = (
        randomised(CLIP(VIT | {"text_cfg": TEXT | {"vocab_size": 49408}})),
        torch.rand(1, 3, 64, 64) * 2 - 1,
    )
    small = torch.nn.functional.interpolate(x, size=(32, 32), mode="bicubic", antialias=True)
    torch.testing.assert_close(clip.encode_image(x), clip.encode_image(small))


# --- by name ------------------------------------------------------------------------------------


@pytest.fixture
def named(monkeypatch):
    """A small model in open_clip's registry."""
    model = {
        "embed_dim": 32,
        "vision_cfg": VIT["vision_cfg"],
        "text_cfg": TEXT | {"vocab_size": 49408, "context_length": 77},
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-small", model)
    return model


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_model_of_open_clip_with_a_file_is_what_open_clip_makes_of_it(named, tmp_path, suffix):
    torch.manual_seed(0)
    theirs = open_clip.create_model("ViT-small").eval()
    state = {
        name: value.clone() for name, value in theirs.state_dict().items() if name != "attn_mask"
    }
    if suffix == "pt":
        torch.save(
            {"state_dict": {f"module.{name}": value for name, value in state.items()}},
            tmp_path / "clip.pt",
        )
    else:
        from safetensors.torch import save_file

        save_file(state, tmp_path / "clip.safetensors")
    clip = clip_by_name("ViT-small", str(tmp_path / f"clip.{suffix}"))
    x, sentences = torch.rand(2, 3, 32, 32) * 2 - 1, ["a red heart", "two cats | 12:30"]
    with torch.no_grad():
        torch.testing.assert_close(
            clip.encode_image(x), theirs.encode_image(clip.normalise(x), normalize=True)
        )
        torch.testing.assert_close(
            clip.encode_text(sentences),
            theirs.encode_text(open_clip.get_tokenizer("ViT-small")(sentences), normalize=True),
        )
    assert clip.logit_scale.item() == pytest.approx(theirs.logit_scale.exp().item())


class Evil:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


@pytest.mark.parametrize("name", ["ViT-small", "vit_tiny_patch16_224"])
def test_weights_of_a_clip_never_run_code(named, tmp_path, name):
    torch.save({"state_dict": {"weight": Evil(tmp_path / "ran")}}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="cannot be had or do not fit"):
        clip_by_name(name, str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()


def test_a_config_that_asks_for_other_peoples_code_or_the_network_is_refused():
    with pytest.raises(UserError, match="has no image tower 'hf-hub:evil/repo'"):
        CLIP(
            RESNET | {"vision_cfg": {"image_size": 32, "timm_model_name": "hf-hub:evil/repo"}},
            ["a"],
        )
    with pytest.raises(UserError, match="transformers is not supported"):
        CLIP(RESNET | {"text_cfg": TEXT | {"hf_model_name": "evil/repo"}}, ["a"])


def test_a_file_of_a_model_whose_published_weights_differ_in_normalisation_must_say_which(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "clip.pt")
    with pytest.raises(
        UserError,
        match="differ in activation or in how images are normalised.*encoder.pretrained=TAG@",
    ):
        clip_by_name("vit_large_patch14_clip_224", str(tmp_path / "clip.pt"))


def test_the_activation_of_a_file_follows_from_what_is_published(named, tmp_path, monkeypatch):
    torch.save(open_clip.create_model("ViT-small").state_dict(), tmp_path / "clip.pt")
    tags = {"old": {"quick_gelu": True}, "new": {}}
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: list(tags))
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: tags[tag])
    for tag, quick in (("old", True), ("new", False)):
        assert (
            clip_by_name("ViT-small", f"{tag}@{tmp_path}/clip.pt").config["model"]["quick_gelu"]
            is quick
        )
    with pytest.raises(UserError, match="differ in activation"):
        clip_by_name("ViT-small", str(tmp_path / "clip.pt"))
    del tags["new"]
    assert (
        clip_by_name("ViT-small", str(tmp_path / "clip.pt")).config["model"]["quick_gelu"] is True
    )


def test_what_is_no_model_or_has_no_weights_is_refused(named, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    for name, pretrained, message in (
        ("RN05", None, "neither open_clip nor timm has a model 'RN05', did you mean 'RN50'"),
        ("RN50", None, "needs weights: .*published ones are: openai, yfcc15m"),
        ("RN50", "opnai", "no such file, and of RN50 no such weights; published ones are"),
        ("ViT-small", "tag", "none are published"),
        (
            "ViT-small",
            str(tmp_path / "other.pt"),
            "the file .*other.pt of ViT-small cannot be had or do not fit it",
        ),
        ("vit_tiny_patch16_224", None, "needs weights"),
        ("coca_ViT-B-32", "laion2b_s13b_b90k", "a decoder"),
        ("vit_base_patch16_clip_224", "openai", "the weights openai of .* cannot be had"),
    ):
        with pytest.raises(UserError, match=message):
            clip_by_name(name, pretrained)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RN50", "RN50x16", "ViT-B-16", "ViT-B-16-SigLIP"])
def test_full_architectures_made_noise_aware(name):
    """Equal to the clean tower to 1e-6 at every t; one step of fine-tuning in bf16."""
    model = open_clip.get_model_config(name)
    tower = randomised(image_tower(model))
    encoder, x = (
        noise_aware(model, tower),
        torch.randn(1, 3, *[model["vision_cfg"]["image_size"]] * 2),
    )
    with torch.no_grad():
        expected = torch.nn.functional.normalize(tower(encoder.normalise(x)), dim=-1)
        for t in (0, 1, 250, 500, 999):
            assert (encoder.encode_image(x, torch.tensor([t])) - expected).abs().max() < 1e-6
    encoder.train()
    optimizer, before, began = (
        torch.optim.SGD(encoder.parameters(), lr=0.1),
        encoder.time[-1].bias.clone(),
        time.monotonic(),
    )
    with torch.autocast("cpu", torch.bfloat16):
        loss = 1 - (encoder(torch.cat([x, -x]), torch.tensor([10, 900])) * expected).sum(-1).mean()
    loss.backward()
    optimizer.step()
    print(
        f"{name}: {sum(p.numel() for p in encoder.parameters()) / 1e6:.0f} M parameters, a step of "
        f"two images {time.monotonic() - began:.1f} s"
    )
    assert torch.isfinite(loss) and not torch.equal(before, encoder.time[-1].bias)
