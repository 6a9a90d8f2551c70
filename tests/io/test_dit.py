"""DiT and SiT: one layout, two clocks."""

import pytest
import torch
from dit import Net, forward, shapes
from foreign import denoiser_of, on_meta, random_tensors, relative, same_tensors

from sdg.errors import UserError
from sdg.io.pretrained import from_state_dict, open_denoiser
from sdg.io.weights import save
from sdg.models.registry import from_pretrained, load_denoiser
from sdg.pipeline.pipeline import Pipeline

SMALL = Net(8, 4, 8, 2, 32, 3, 4, 5)
PLAIN = SMALL._replace(outputs=4)
PUBLISHED = {
    f"{name}/{patch}, {side} px": Net(side // 8, 4, 8, patch, width, depth, heads, 1000)
    for name, width, depth, heads in (
        ("XL", 1152, 28, 16),
        ("L", 1024, 24, 16),
        ("B", 768, 12, 12),
        ("S", 384, 12, 6),
    )
    for patch, side in ((2, 256), (2, 512), (4, 256), (8, 256))
}


def noise(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("label", [2, 5])  # 5 is no class
def test_dit_gives_the_papers_noise_and_variance(label):
    p, x, t = random_tensors(shapes(SMALL)), noise(2, 4, 8, 8), torch.tensor([3, 999])
    denoiser = denoiser_of(p, family="dit", heads=4)
    denoiser.label = label
    expected = forward(SMALL, p, x, t, torch.tensor([label, label]))
    found = denoiser(x, t)
    assert relative(torch.cat([found.output, found.variance_weight], 1), expected) < 1e-8
    assert (denoiser.schedule.kind, denoiser.prediction, denoiser.variance) == (
        "linear",
        "epsilon",
        "learned_range",
    )


@pytest.mark.parametrize("net", [SMALL, PLAIN], ids=["unused half", "velocity alone"])
@pytest.mark.parametrize("level", [0, 499.5, 998])
def test_sit_estimates_the_image_that_its_own_flow_does(net, level):
    p = random_tensors(shapes(net))
    denoiser = denoiser_of(p, heads=4, **({"family": "sit"} if net is SMALL else {}))
    denoiser.label = 2
    s = 1 - (level + 1) / 1000  # SiT's time: x_s = s x_0 + (1 − s) ε, 0 is noise
    x = noise(2, 4, 8, 8)
    s_of_each, labels = torch.full((2,), s, dtype=torch.float64), torch.tensor([2, 2])
    velocity = forward(net, p, x, s_of_each, labels)[:, :4]  # of d x_s/ds = x_0 − ε
    expected = x + (1 - s) * velocity
    preserved = x / (s**2 + (1 - s) ** 2) ** 0.5
    assert relative(denoiser(preserved, level).x0, expected) < 1e-8


@pytest.mark.parametrize("family", ["dit", "sit"])
@pytest.mark.parametrize("net", PUBLISHED.values(), ids=PUBLISHED)
def test_full_size_has_a_place_for_every_tensor(net, family):
    file, model = on_meta(shapes(net), family=family)
    assert same_tensors(file, model)
    assert model.network.blocks[0].attn.num_heads == net.heads
    assert (file.config["resolution"], model.channels, model.network.null_label) == (
        net.side,
        4,
        1000,
    )
    assert {source for _, source in file.sources.values()} >= {"you", "the file"}


def test_a_sit_without_the_unused_half_is_known_as_one():
    file, _ = on_meta(shapes(PUBLISHED["XL/2, 512 px"]._replace(outputs=4)))
    assert file.kind.startswith("a SiT, 28 blocks of 1152 channels, patches of 2")
    assert file.sources["family"] == ("sit", "no Σ")
    assert file.sources["time"][0] == "signal"


def test_what_a_file_cannot_tell_is_asked_for():
    tensors = random_tensors(shapes(SMALL))
    message = r"set family to dit or sit, heads to those"
    with pytest.raises(UserError, match=message):
        from_state_dict(tensors, {}, "x.pt")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"family": "sitt"}, "did you mean"),
        ({"family": "sit", "heads": 5}, "5 heads do not divide 32 channels"),
        ({"family": "sit", "qkv": "heads_first"}, "takes no qkv; leave that out"),
    ],
)
def test_settings_that_do_not_suit_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        from_state_dict(random_tensors(shapes(SMALL)), {"heads": 4} | given, "x.pt")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: p.pop("pos_embed"), "has no pos_embed"),
        (lambda p: p.update(pos_embed=torch.zeros(1, 15, 32)), "15 tokens of 32 numbers"),
        (lambda p: p.update({"final_layer.linear.bias": torch.zeros(7)}), "different lengths"),
        (lambda p: p.update({"x_embedder.proj.weight": torch.zeros(3)}), "of 4 dimensions"),
        (lambda p: p.update({"final_layer.linear.weight": torch.zeros(12, 32)}), "no square image"),
    ],
)
def test_damaged_files_get_one_line(change, message):
    tensors = random_tensors(shapes(SMALL))
    change(tensors)
    with pytest.raises(UserError, match=message):
        from_state_dict(tensors, {"family": "dit", "heads": 4}, "x.pt")


def test_a_tensor_too_many_or_too_few_is_named(tmp_path):
    tensors = random_tensors(shapes(PLAIN), dtype=torch.float32)
    for change in (
        lambda p: p.update(extra=torch.zeros(1)),
        lambda p: p.pop("blocks.1.mlp.fc2.bias"),
    ):
        changed = dict(tensors)
        change(changed)
        torch.save(changed, tmp_path / "x.pt")
        with pytest.raises(UserError, match="1 tensors differ, such as"):
            load_denoiser(tmp_path / "x.pt", 1, {"heads": 4})


def test_its_clock_travels_with_its_weights(tmp_path):
    torch.save({"ema": random_tensors(shapes(PLAIN), dtype=torch.float32)}, tmp_path / "sit.pt")
    asked = {"heads": 4}
    with pytest.raises(UserError, match="^label must be an integer from 0 to 5"):
        load_denoiser(tmp_path / "sit.pt", None, asked)
    first = load_denoiser(tmp_path / "sit.pt", 1, asked)
    save(tmp_path / "ours.safetensors", "denoiser", first, first.config)
    again = from_pretrained(tmp_path / "ours.safetensors", label=1)
    x = noise(2, 4, 8, 8).float()
    assert torch.equal(first(x, 300)[0], again(x, 300)[0])
    assert open_denoiser(tmp_path / "ours.safetensors").config["denoiser"]["time"] == "signal"


def test_latents_are_not_taken_for_pixels():
    denoiser = denoiser_of(random_tensors(shapes(PLAIN)), heads=4)
    with pytest.raises(UserError, match="latents of 4 channels; give the autoencoder"):
        Pipeline(denoiser)
