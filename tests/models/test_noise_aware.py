"""The noise-aware tower starts out as the clean one at every t, and can learn to read t."""

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from sdg.errors import UserError
from sdg.io.weights import save
from sdg.models.clip import CLIP
from sdg.models.noise_aware import NoiseAwareEncoder, TimeConditionedNorm
from sdg.models.registry import load_clip_noisy
from sdg.models.stages import stages

SCHEDULE = {"kind": "cosine", "T": 1000}
TEXT = {"context_length": 6, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}


def timm_tower(name, side):
    return {"timm_model_name": name, "timm_pool": "avg", "timm_proj": "linear", "image_size": side}


TOWERS = {
    "GroupNorm": timm_tower("resnet_tiny", 32),
    "BatchNorm": timm_tower("resnet10t", 32),
    "LayerNorm": timm_tower("test_vit", 160),
    "RMSNorm": timm_tower("test_vit4", 160),
    "LayerNorm of maps": timm_tower("test_convnext", 32),
    "BatchNorm with activation": timm_tower("test_efficientnet", 32),
    "LayerNorm of maps with activation": timm_tower("test_efficientnet_ln", 32),
    "GroupNorm with activation": timm_tower("test_efficientnet_gn", 32),
    "OpenAI's ResNet": {
        "layers": [1, 1, 1, 1],
        "width": 16,
        "head_width": 16,
        "image_size": 64,
        "patch_size": 16,
    },
    "OpenAI's ViT": {"layers": 2, "width": 32, "head_width": 16, "image_size": 32, "patch_size": 8},
}


def clip_of(vision):
    torch.manual_seed(0)
    clip = CLIP({"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT}, ["a", "red", "heart"])
    for module in clip.towers.visual.modules():  # as after training: no norm is the identity
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return clip.eval()


def aware_of(clip):
    return NoiseAwareEncoder(clip.towers.visual, clip.config, SCHEDULE).eval()


def perturbed(encoder):
    nn.init.normal_(encoder.time[-1].weight, std=0.05)
    return encoder


def images(n, side):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(params=TOWERS, scope="module")
def clip(request):
    return clip_of(TOWERS[request.param])


@torch.no_grad()
def test_fresh_encoder_equals_the_clean_one_at_every_level(clip):
    encoder, x = aware_of(clip), images(2, clip.resolution)
    expected = clip.encode_image(x)
    for t in (0, 1, 250, 999):
        torch.testing.assert_close(
            encoder.encode_image(x, torch.full((2,), t)), expected, rtol=0, atol=1e-6
        )


@torch.no_grad()
def test_embeddings_depend_on_the_level_once_the_last_layer_has_learned(clip):
    encoder, x = perturbed(aware_of(clip)), images(1, clip.resolution).expand(3, -1, -1, -1)
    z = encoder.encode_image(x, torch.tensor([10, 10, 800]))
    torch.testing.assert_close(z[0], z[1], rtol=0, atol=1e-5)
    assert (z[0] - z[2]).norm() > 1e-3
    torch.testing.assert_close(z.norm(dim=1), torch.ones(3))


def test_one_level_of_all_images_is_embedded_once(clip):
    encoder, x = perturbed(aware_of(clip)), images(3, clip.resolution).requires_grad_()
    level, rows = torch.tensor([400]), []
    encoder.time[1].register_forward_hook(lambda _, inputs, output: rows.append(len(output)))
    values = [encoder.encode_image(x, t) for t in (level.expand(3), level.repeat(3))]
    assert rows == [1, 3]
    torch.testing.assert_close(*values, rtol=0, atol=1e-5)
    one, each = (torch.autograd.grad(value.sum(), x)[0] for value in values)
    torch.testing.assert_close(one, each, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_each_image_is_modulated_by_its_own_level(clip):
    encoder, x, t = (
        perturbed(aware_of(clip)),
        images(3, clip.resolution),
        torch.tensor([0, 400, 999]),
    )
    alone = torch.cat([encoder.encode_image(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(encoder.encode_image(x, t), alone, rtol=0, atol=1e-5)


@torch.no_grad()
def test_stages_of_both_towers_give_equal_maps_of_as_many_channels_as_they_say(clip):
    encoder, x = aware_of(clip), images(2, clip.resolution)
    names = list(stages(clip.tower))
    assert names == list(stages(encoder.tower)) and len(names) >= 2
    clean, aware = (
        clip.encode(x, None, names).maps,
        encoder.encode(x, torch.tensor([0, 999]), names).maps,
    )
    for name in names:
        assert clean[name].shape[:2] == (2, stages(encoder.tower)[name].channels) and clean[
            name
        ].ndim in (3, 4)
        torch.testing.assert_close(aware[name], clean[name], rtol=0, atol=1e-5)


def test_gradient_passes_to_the_image(clip):
    encoder, x = perturbed(aware_of(clip)), images(2, clip.resolution).requires_grad_()
    encoder.encode_image(x, torch.tensor([5, 500]))[:, 0].sum().backward()
    assert x.grad.isfinite().all() and (x.grad.flatten(1).norm(dim=1) > 0).all()


def test_clean_tower_is_copied_not_changed():
    clip = clip_of(TOWERS["GroupNorm"])
    before, x = {name: value.clone() for name, value in clip.state_dict().items()}, images(2, 32)
    expected = clip.encode_image(x)
    encoder = perturbed(aware_of(clip))
    for parameter in encoder.tower.parameters():
        nn.init.normal_(parameter)
    assert not any(isinstance(module, TimeConditionedNorm) for module in clip.modules())
    assert all(torch.equal(value, before[name]) for name, value in clip.state_dict().items())
    assert torch.equal(clip.encode_image(x), expected)


@pytest.mark.parametrize(
    "tower, shortcuts", [("GroupNorm", 3), ("BatchNorm", 3), ("OpenAI's ResNet", 4)]
)
def test_norms_on_down_sampling_shortcuts_are_left_alone(tower, shortcuts):
    encoder = aware_of(clip_of(TOWERS[tower]))
    kinds = (nn.BatchNorm2d, nn.GroupNorm)
    plain = [
        name
        for name, module in encoder.tower.named_modules()
        if isinstance(module, kinds) and not name.endswith(".norm")
    ]
    assert len(plain) == shortcuts and all("downsample" in name for name in plain)
    assert not any(
        "downsample" in name
        for name, module in encoder.tower.named_modules()
        if isinstance(module, TimeConditionedNorm)
    )


def test_time_layer_gives_every_modulated_channel_a_scale_and_a_shift():
    encoder = aware_of(clip_of(TOWERS["BatchNorm"]))
    channels = sum(
        module.norm.weight.numel()
        for module in encoder.tower.modules()
        if isinstance(module, TimeConditionedNorm)
    )
    assert encoder.time[-1].out_features == 2 * channels > 0


@pytest.mark.parametrize(
    "norm, shape, axis",
    [
        (nn.BatchNorm2d(4), (2, 4, 3, 5), 1),
        (nn.GroupNorm(2, 4), (2, 4, 3, 5), 1),
        (nn.LayerNorm(4), (2, 7, 4), 2),
        (nn.LayerNorm(4), (2, 3, 5, 4), 3),
    ],
)
def test_modulation_is_one_plus_a_times_the_norm_plus_b_for_each_channel(norm, shape, axis):
    torch.manual_seed(0)
    layer, h, ab = TimeConditionedNorm(norm.eval()), torch.randn(shape), torch.randn(2, 8)
    layer.modulation = ab
    expected = norm(h).movedim(axis, -1).clone()
    for i in range(2):
        expected[i] = expected[i] * (1 + ab[i, :4]) + ab[i, 4:]
    torch.testing.assert_close(layer(h), expected.movedim(-1, axis))


def test_tower_without_norms_is_refused():
    tower = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    with pytest.raises(UserError, match="no BatchNorm2d, GroupNorm, LayerNorm or RMSNorm"):
        NoiseAwareEncoder(tower, {"model": {}}, SCHEDULE)


def test_weights_and_config_rebuild_the_encoder():
    encoder = perturbed(aware_of(clip_of(TOWERS["GroupNorm"])))
    other = NoiseAwareEncoder(CLIP(**encoder.config["clip"]).towers.visual, **encoder.config).eval()
    other.load_state_dict(encoder.state_dict())
    x, t = images(2, 32), torch.tensor([3, 700])
    assert (
        torch.equal(other.encode_image(x, t), encoder.encode_image(x, t)) and other.resolution == 32
    )


def test_an_encoder_that_was_used_can_be_copied():
    """As averaging its weights does; what a forward pass leaves behind must not hold a graph."""
    encoder = aware_of(clip_of(TOWERS["GroupNorm"]))
    x, t = images(2, 32), torch.tensor([5, 500])
    z = encoder.encode_image(x, t)
    torch.testing.assert_close(copy.deepcopy(encoder).encode_image(x, t), z)


@torch.no_grad()
def test_modulation_comes_before_an_activation_fused_with_the_norm():
    norm = BatchNormAct2d(4, act_layer=nn.ReLU).eval()
    h = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    shifted = TimeConditionedNorm(norm)
    shifted.modulation = torch.cat([torch.zeros(2, 4), torch.full((2, 4), 10.0)], 1)
    torch.testing.assert_close(
        shifted(h), h / (1 + 1e-5) ** 0.5 + 10
    )  # so far above zero, ReLU changes nothing


# --- calibrated ---------------------------------------------------------------------------------


def calibrated_of(clip):
    encoder = NoiseAwareEncoder(clip.towers.visual, clip.config, SCHEDULE, calibrated=True).eval()
    encoder.logit_scale.fill_(20.0)
    return encoder


@torch.no_grad()
def test_a_fresh_calibrated_encoder_has_the_clean_ones_logits(clip):
    encoder, x = calibrated_of(clip), images(2, clip.resolution)
    for t in (0, 999):
        seen = encoder.encode(x, torch.full((2,), t))
        torch.testing.assert_close(seen.z, clip.encode_image(x), rtol=0, atol=1e-6)
        torch.testing.assert_close(seen.scaled, 20 * clip.encode_image(x), rtol=0, atol=2e-5)


def test_the_length_of_a_calibrated_encoder_is_written_out():
    clip = clip_of(TOWERS["GroupNorm"])
    encoder, x, t = perturbed(calibrated_of(clip)), images(2, 32), torch.tensor([10, 800])
    nn.init.normal_(encoder.length.weight)
    plain = NoiseAwareEncoder(clip.towers.visual, clip.config, SCHEDULE).eval()
    tensors = encoder.state_dict()
    plain.load_state_dict({name: tensors[name] for name in plain.state_dict()})
    with torch.no_grad():
        r, features = plain.embed(x, t), encoder.time[:-1](t)
        a, b, alpha = encoder.length.weight[0].split([16, 512, 1])
        u, f = (v / v.norm(dim=1, keepdim=True) for v in (r, features))
        log_length = u @ a + f @ b + alpha * r.norm(dim=1).log() + encoder.length.bias
        expected = 20 * log_length.exp()[:, None] * u
        torch.testing.assert_close(encoder.embed(x, t), expected)


def test_weights_know_whether_they_are_calibrated(tmp_path):
    clip = clip_of(TOWERS["GroupNorm"])
    x, t = images(2, 32), torch.tensor([3, 700])
    for encoder in (perturbed(calibrated_of(clip)), perturbed(aware_of(clip))):
        file = save(tmp_path / "encoder.safetensors", "clip_noisy", encoder, encoder.config)
        found = load_clip_noisy(file)
        assert found.calibrated == encoder.calibrated
        tensors = found.state_dict()
        assert all(
            torch.equal(tensors[name], value) for name, value in encoder.state_dict().items()
        )
        z, expected = found.embed(x, t), encoder.embed(x, t).detach()
        # Relative to its length: another memory format sums in another order.
        assert (z - expected).norm() < 1e-5 * expected.norm()
    assert "calibrated" not in encoder.config and encoder.encode(x, t).scaled is None  # as ever
