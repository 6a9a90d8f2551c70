"""EDM2's networks, of pixels and of latents."""

import pytest
import torch
from edm2 import Net, forward, shapes
from foreign import denoiser_of, on_meta, random_tensors, relative, same_tensors

from sdg.errors import UserError
from sdg.io.pretrained import from_state_dict

SMALL = {
    "pixels": Net(16, 64, (1, 2), 1, (8,), classes=5),
    "latents, without classes": Net(16, 64, (1, 1, 2), 2, (8, 4), image=4, classes=0),
}
PUBLISHED = {
    f"{name}, {classes} classes": Net(64, width, image=image, classes=classes)
    for name, width, image, classes in (
        ("img64 XS", 128, 3, 1000),
        ("img64 XL", 384, 3, 1000),
        ("img512 XXS", 64, 4, 1000),
        ("img512 S", 192, 4, 0),
        ("img512 XXL", 448, 4, 1000),
    )
}


def weights(net, dtype=torch.float64):
    tensors = random_tensors(shapes(net), dtype=dtype)
    tensors["unet.emb_fourier.freqs"] *= 6
    return tensors


@pytest.mark.parametrize("net", SMALL.values(), ids=SMALL)
def test_the_image_is_the_one_of_the_papers_preconditioning(net):
    p, label = weights(net), 2 if net.classes else None
    denoiser = denoiser_of(p)
    denoiser.label = label
    x = torch.randn(2, net.image, 16, 16, generator=torch.Generator().manual_seed(1)).double()
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
    assert (file.config["resolution"], model.channels, model.network.classes) == (
        64,
        net.image,
        net.classes,
    )
    known = {name: value for name, (value, _) in file.sources.items()}
    assert (known["sigma_data"], known["time"], known["time_scale"]) == (0.5, "log_sigma", 0.25)


def test_the_half_precision_of_published_files_is_read_into_single():
    net = SMALL["pixels"]
    halves = weights(net, torch.float16)
    file = from_state_dict(halves, {}, "x.safetensors")
    assert {value.dtype for value in file.tensors.values()} == {torch.float32}
    denoiser = denoiser_of(halves)
    denoiser.label = 2
    x, told = torch.ones(1, 3, 16, 16, dtype=torch.float64), torch.tensor([-0.2]).double()
    singles = {name: value.double() for name, value in halves.items()}
    with torch.no_grad():
        found = denoiser.network(x, told, torch.tensor([2]))
    assert relative(found, forward(net, singles, x, told, torch.tensor([2]))) < 1e-5


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: p.pop("unet.out_gain"), "looks like an EDM2 U-Net, but has no out_gain"),
        (lambda p: p.pop("unet.enc.8x8_down.emb_gain"), "has no enc.8x8_down.emb_gain"),
        (
            lambda p: [p.pop(name) for name in list(p) if ".16x16_" in name],
            "has no enc.8x8_conv.weight",
        ),
        (lambda p: p.update({"unet.emb_noise.weight": torch.zeros(4)}), "of 2 dimensions"),
    ],
)
def test_damaged_files_get_one_line(change, message):
    tensors = weights(SMALL["pixels"])
    change(tensors)
    with pytest.raises(UserError, match=message):
        from_state_dict(tensors, {}, "x.safetensors")
