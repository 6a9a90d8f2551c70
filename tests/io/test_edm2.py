"""EDM2's networks, of pixels and of latents."""

from functools import partial

import pytest
import torch
from edm2 import Net, forward, shapes
from foreign import denoiser_of, random_tensors, relative
from karras import check_full_size, check_preconditioning

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
    p = weights(net)
    check_preconditioning(p, partial(forward, net, p), net.image, net.classes)


@pytest.mark.parametrize("net", PUBLISHED.values(), ids=PUBLISHED)
def test_full_size_has_a_place_for_every_tensor(net):
    check_full_size(shapes(net), net.side, net.image, net.classes)


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
