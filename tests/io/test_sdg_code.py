"""Noisy CLIPs of the SDG authors' code.

They meet their encoder written out as functions of the state dict.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from sdg_code import DEPTHS, random_weights, shapes

from sdg.app.checkpoints import main
from sdg.errors import UserError
from sdg.io.sdg_code import from_sdg_code
from sdg.models.clip import CLIP
from sdg.models.noise_aware import NoiseAwareEncoder
from sdg.models.registry import load_clip_noisy


def forward(p, x, t, depths):
    """Their stages: the stem after pooling, layer 1 to 4, and the embedding."""
    angles = t.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(64) / 64)
    h = torch.cat([angles.cos(), angles.sin()], 1)
    for name in ("time_embed.0", "time_embed.2", "emb_layers.1"):
        h = F.linear(
            h if name == "time_embed.0" else F.relu(h), p[f"{name}.weight"], p[f"{name}.bias"]
        )
    offset = 0

    def norm(name, x):
        return F.batch_norm(
            x,
            p[f"{name}.running_mean"],
            p[f"{name}.running_var"],
            p[f"{name}.weight"],
            p[f"{name}.bias"],
        )

    def told(name, x):
        nonlocal offset
        scale, shift = (
            h[:, offset + k * x.shape[1] : offset + (k + 1) * x.shape[1], None, None]
            for k in (0, 1)
        )
        offset += 2 * x.shape[1]
        return norm(name, x) * (1 + scale) + shift

    mean, std = (
        torch.tensor(v).view(3, 1, 1)
        for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    x = ((x + 1) / 2 - mean) / std
    for place, stride in ((0, 2), (3, 1), (6, 1)):
        x = F.relu(
            told(
                f"visual_frozen.{place + 1}",
                F.conv2d(x, p[f"visual_frozen.{place}.weight"], stride=stride, padding=1),
            )
        )
    x = F.avg_pool2d(x, 2)
    seen = [x]
    for k, (layer, depth) in enumerate(depths.items()):
        for block in range(depth):
            name, halve = (
                f"{layer}.{block}",
                (lambda u: F.avg_pool2d(u, 2)) if block == 0 and k else (lambda u: u),
            )
            y = F.relu(told(f"{name}.bn1", F.conv2d(x, p[f"{name}.conv1.weight"])))
            y = halve(
                F.relu(told(f"{name}.bn2", F.conv2d(y, p[f"{name}.conv2.weight"], padding=1)))
            )
            y = told(f"{name}.bn3", F.conv2d(y, p[f"{name}.conv3.weight"]))
            x = F.relu(
                y
                + (
                    norm(
                        f"{name}.downsample.1", F.conv2d(halve(x), p[f"{name}.downsample.0.weight"])
                    )
                    if block == 0
                    else x
                )
            )
        seen.append(x)
    b, c = x.shape[:2]
    tokens = x.flatten(2).transpose(1, 2)
    tokens = (
        torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + p["attn_pool.positional_embedding"]
    )
    q, k, v = (
        F.linear(u, p[f"attn_pool.{part}.weight"], p[f"attn_pool.{part}.bias"])
        .view(b, -1, c // 64, 64)
        .transpose(1, 2)
        for u, part in ((tokens[:, :1], "q_proj"), (tokens, "k_proj"), (tokens, "v_proj"))
    )
    pooled = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, c)
    return [*seen, F.linear(pooled, p["attn_pool.c_proj.weight"], p["attn_pool.c_proj.bias"])]


def test_embedding_and_stage_maps_are_theirs(tmp_path):
    depths = {layer: depth for layer, depth in zip(DEPTHS, (2, 3, 2, 2), strict=True)}
    p = random_weights(16, 24, 64, depths)
    torch.save(p, tmp_path / "clip_noisy.pt")
    encoder = load_clip_noisy(tmp_path / "clip_noisy.pt")
    x, t = (
        torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)),
        torch.tensor([3, 900]),
    )
    names = ("stem", "layer1", "layer2", "layer3", "layer4")
    found, (*maps, z) = encoder.encode(x, t, names), forward(p, x, t, depths)
    for name, expected in zip(names, maps, strict=True):
        torch.testing.assert_close(found.maps[name], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.z, F.normalize(z, dim=-1), rtol=1e-4, atol=1e-5)
    assert (found.z[0] - found.z[1]).norm() > 0.1 and encoder.resolution == 64
    assert (
        encoder.config["schedule"] == {"kind": "linear", "T": 1000}
        and float(encoder.logit_scale) == 100
    )


def test_full_size_file_has_a_place_for_each_of_its_777_tensors():
    with torch.device("meta"):
        tensors = {name: torch.empty(shape) for name, shape in shapes(96, 768, 256, DEPTHS).items()}
        assert (
            len(tensors) == 777
            and tensors["emb_layers.1.weight"].shape == (182400, 512)
            and tensors["attn_pool.positional_embedding"].shape == (65, 3072)
        )
        config, found = from_sdg_code(tensors, "x.pt")
        encoder = NoiseAwareEncoder(CLIP(**config["clip"]).tower, **config)
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in encoder.state_dict().items()
    }
    assert (
        len(encoder.norms) == 123
        and encoder.tower.attnpool.num_heads == 48
        and encoder.resolution == 256
    )


def test_another_tensor_is_refused_by_name():
    p = random_weights(16, 24, 64, dict.fromkeys(DEPTHS, 1))
    with pytest.raises(UserError, match="holds a tensor transformer.weight"):
        from_sdg_code(p | {"transformer.weight": torch.zeros(1)}, "x.pt")


@pytest.mark.parametrize(
    "name",
    [
        "visual_frozen.6.weight",
        "attn_pool.c_proj.weight",
        "time_embed.0.weight",
        "visual_frozen.11.0.conv1.weight",
    ],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path, name):
    p = random_weights(16, 24, 64, dict.fromkeys(DEPTHS, 1))
    torch.save({key: value for key, value in p.items() if key != name}, tmp_path / "clip_noisy.pt")
    with pytest.raises(UserError, match=f"has no tensor {name}; its file is not whole"):
        load_clip_noisy(tmp_path / "clip_noisy.pt")


def test_it_lies_at_home_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(random_weights(16, 24, 64, dict.fromkeys(DEPTHS, 1)), tmp_path / "clip_noisy.pt")
    assert load_clip_noisy("~/clip_noisy.pt").resolution == 64
    main(["inspect", "~/clip_noisy.pt"])
    assert "a noisy CLIP of the SDG authors' code" in capsys.readouterr().out


def test_the_command_tells_what_it_is_and_converts_it(tmp_path, capsys):
    torch.save(random_weights(16, 24, 64, dict.fromkeys(DEPTHS, 1)), tmp_path / "clip_noisy.pt")
    main(["inspect", str(tmp_path / "clip_noisy.pt")])
    assert (
        "a noisy CLIP of the SDG authors' code" in (said := capsys.readouterr().out)
        and "stem, layer1, layer2, layer3, layer4" in said
    )
    before = load_clip_noisy(tmp_path / "clip_noisy.pt").state_dict()
    for out in ("own.safetensors", "folder"):
        main(["convert", str(tmp_path / "clip_noisy.pt"), str(tmp_path / out)])
        after = load_clip_noisy(tmp_path / out).state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
