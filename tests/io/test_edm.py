"""EDM's networks: SongUNet as DDPM++ and NCSN++, DhariwalUNet."""

import pytest
import torch
from edm import Net, forward, shapes
from foreign import denoiser_of, on_meta, random_tensors, relative, same_tensors

from sdg.errors import UserError
from sdg.io.pretrained import from_state_dict

SMALL = {
    "DDPM++": Net(16, 16, (2, 2, 2), 2, (8,)),
    "DDPM++ of classes": Net(16, 16, (1, 2), 1, (16,), classes=4),
    "NCSN++": Net(16, 16, (2, 1, 2), 1, (8,), ncsn=True),
    "NCSN++ of classes": Net(16, 16, (1, 2), 1, (8,), ncsn=True, classes=4),
    "ADM": Net(16, 64, (1, 2), 1, (8,), song=False, augmented=False, classes=4),
    "ADM without classes": Net(16, 64, (2, 1, 2), 1, (8,), song=False, augmented=False),
}
PUBLISHED = {
    "CIFAR-10 VP": Net(32, 128, (2, 2, 2), 4, (16,)),
    "CIFAR-10 VE of classes": Net(32, 128, (2, 2, 2), 4, (16,), ncsn=True, classes=10),
    "FFHQ, AFHQ 64 VP": Net(64, 128, (1, 2, 2, 2), 4, (16,)),
    "FFHQ, AFHQ 64 VE": Net(64, 128, (1, 2, 2, 2), 4, (16,), ncsn=True),
    "ImageNet 64": Net(
        64, 192, (1, 2, 3, 4), 3, (32, 16, 8), song=False, classes=1000, augmented=False
    ),
}


def weights(net):
    tensors = random_tensors(shapes(net))
    line = torch.tensor([1.0, 3.0, 3.0, 1.0] if net.ncsn else [1.0, 1.0])
    for name in tensors:
        if name.endswith("resample_filter"):
            tensors[name] = (torch.outer(line, line) / line.sum() ** 2)[None, None].double()
    return tensors


@pytest.mark.parametrize("net", SMALL.values(), ids=SMALL)
def test_the_image_is_the_one_of_the_papers_preconditioning(net):
    p, label = weights(net), 2 if net.classes else None
    denoiser = denoiser_of(p)
    denoiser.label = label
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)).double()
    y = torch.tensor([2, 2]) if net.classes else None
    first, last = 0.002 ** (1 / 7), 80 ** (1 / 7)
    for level in (0, 300.5, 999):
        sigma = (first + level / 999 * (last - first)) ** 7
        root = (sigma**2 + 0.25) ** 0.5
        told = torch.full((2,), sigma, dtype=torch.float64).log() / 4
        own = (1 + sigma**2) ** 0.5 * x  # x_0 + σ ε, where ours is that over √(1 + σ²)
        of_network = forward(net, p, own / root, told, y)
        expected = 0.25 / root**2 * own + 0.5 * sigma / root * of_network
        assert relative(denoiser(x, level).x0, expected) < 1e-8
        assert relative(denoiser(x, level).output, of_network) < 1e-8


@pytest.mark.parametrize("net", PUBLISHED.values(), ids=PUBLISHED)
def test_full_size_has_a_place_for_every_tensor(net):
    file, model = on_meta(shapes(net))
    assert same_tensors(file, model)
    assert file.config["resolution"] == net.side
    assert model.network.classes == net.classes
    known = {name: value for name, (value, _) in file.sources.items()}
    assert (known["sigma_data"], known["time"], known["time_scale"]) == (0.5, "log_sigma", 0.25)


def test_a_baseline_in_the_same_layout_is_not_taken_for_edm():
    tensors = weights(SMALL["DDPM++"]._replace(augmented=False))
    with pytest.raises(UserError, match=r"may be a VP or VE baseline: set family to edm"):
        from_state_dict(tensors, {}, "x.safetensors")
    assert from_state_dict(tensors, {"family": "edm"}, "x").sources["family"] == ("edm", "you")
    with pytest.raises(UserError, match="iDDPM's preconditioning"):
        from_state_dict(tensors | {"u": torch.zeros(1001)}, {}, "x.safetensors")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: p.pop("model.enc.16x16_conv.weight"), "has no enc.16x16_conv.weight"),
        (
            lambda p: [p.pop(name) for name in list(p) if ".8x8_" in name],
            r"resolutions \[16, 4\], which do not halve",
        ),
        (
            lambda p: p.update({"model.map_layer0.weight": torch.zeros(4)}),
            r"its map_layer0.weight has the shape \(4,\), not one of 2 dimensions",
        ),
        (
            lambda p: p.update({"model.enc.8x8_down.conv0.resample_filter": torch.zeros(3)}),
            "its filters have 3 taps",
        ),
    ],
)
def test_damaged_files_get_one_line(change, message):
    tensors = weights(SMALL["DDPM++"])
    change(tensors)
    with pytest.raises(UserError, match=message):
        from_state_dict(tensors, {}, "x.safetensors")


def test_settings_of_other_families_are_refused():
    with pytest.raises(UserError, match=r"takes no qkv; leave that out"):
        from_state_dict(weights(SMALL["DDPM++"]), {"qkv": "qkv_first"}, "x.safetensors")
    with pytest.raises(UserError, match="^family"):
        from_state_dict(weights(SMALL["DDPM++"]), {"family": "dit"}, "x.safetensors")
