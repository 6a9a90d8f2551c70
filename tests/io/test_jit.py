"""JiT: an image of a flow's image, whose noise is twice as strong at 512 pixels."""

import pytest
import torch
from foreign import denoiser_of, on_meta, random_tensors, relative, same_tensors
from jit import Net, forward, shapes

from sdg.errors import UserError
from sdg.io.pretrained import from_state_dict, open_denoiser

SMALL = {
    1.0: Net(256, 64, 32, 12, 2, 4, context=3, bottleneck=8, classes=5),
    2.0: Net(512, 128, 24, 12, 2, 4, context=3, bottleneck=8, classes=5),
}
PUBLISHED = {
    f"{name}/{patch}": Net(side, patch, width, depth, heads, start, bottleneck=bottleneck)
    for name, width, depth, heads, start, bottleneck in (
        ("B", 768, 12, 12, 4, 128),
        ("L", 1024, 24, 16, 8, 128),
        ("H", 1280, 32, 16, 10, 256),
    )
    for side, patch in ((256, 16), (512, 32))
}


@pytest.mark.parametrize("label", [2, 5])  # 5 is no class
@pytest.mark.parametrize("strength", SMALL)
def test_the_image_is_the_one_that_its_own_flow_says(strength, label):
    net = SMALL[strength]
    p = random_tensors(shapes(net))
    denoiser = denoiser_of(p)
    denoiser.label = label
    z = torch.randn(2, 3, net.side, net.side, generator=torch.Generator().manual_seed(1)).double()
    for own in (0.1, 0.9):  # its t: z = t x_0 + (1 − t) s ε
        signal, noise = own, (1 - own) * strength
        level = 1000 * noise / (signal + noise) - 1  # of the same λ, τ = (level + 1)/1000
        expected = forward(net, p, z, torch.full((2,), own).double(), torch.tensor([label] * 2))
        found = denoiser(z / (signal**2 + noise**2) ** 0.5, level).x0
        assert relative(found, expected) < 1e-8


@pytest.mark.parametrize("net", PUBLISHED.values(), ids=PUBLISHED)
def test_full_size_has_a_place_for_every_tensor(net):
    file, model = on_meta(shapes(net))
    assert same_tensors(file, model)
    assert model.network.blocks[0].attn.num_heads == net.heads
    assert (model.network.start, model.network.null_label) == (net.start, 1000)
    assert (file.config["resolution"], model.noise_scale) == (net.side, net.side / 256)


def test_the_averaged_weights_of_a_checkpoint_are_read(tmp_path):
    tensors = random_tensors(shapes(SMALL[1.0]), dtype=torch.float32)
    other = {name: torch.zeros_like(value) for name, value in tensors.items()}
    torch.save({"model": other, "model_ema1": tensors, "model_ema2": other}, tmp_path / "last.pth")
    found = open_denoiser(tmp_path / "last.pth").tensors
    assert all(
        torch.equal(found[name.replace("net.", "network.")], tensors[name]) for name in tensors
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda p: p.pop("net.x_embedder.proj1.weight"),
            "looks like a JiT, but has no x_embedder.proj1.weight",
        ),
        (lambda p: p.update({"net.pos_embed": torch.zeros(1, 15, 32)}), "15 tokens of"),
        (
            lambda p: p.update({"net.pos_embed": torch.zeros(1, 9, 32)}),
            "images of 192 pixels: .* known of 12, 24 or 32 blocks and of 256 or 512 pixels alone",
        ),
        (
            lambda p: [p.pop(name) for name in list(p) if ".blocks.7." in name],
            "it has 11 blocks",
        ),
        (
            lambda p: p.update({"net.blocks.0.attn.q_norm.weight": torch.zeros(5)}),
            "heads of 5 channels do not suit a width of 32",
        ),
    ],
)
def test_damaged_and_unknown_files_get_one_line(change, message):
    tensors = random_tensors(shapes(SMALL[1.0]))
    change(tensors)
    with pytest.raises(UserError, match=message):
        from_state_dict(tensors, {}, "x.safetensors")


def test_settings_of_other_families_are_refused():
    with pytest.raises(UserError, match=r"a JiT, which takes no family nor T;"):
        from_state_dict(
            random_tensors(shapes(SMALL[1.0])), {"family": "sit", "T": 4}, "x.safetensors"
        )
