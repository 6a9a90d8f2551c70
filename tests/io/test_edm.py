"""EDM's networks: SongUNet as DDPM++ and NCSN++, DhariwalUNet."""

from functools import partial

import pytest
import torch
from edm import Net, forward, shapes
from foreign import random_tensors
from karras import check_full_size, check_preconditioning

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
    p = weights(net)
    check_preconditioning(p, partial(forward, net, p), 3, net.classes)


@pytest.mark.parametrize("net", PUBLISHED.values(), ids=PUBLISHED)
def test_full_size_has_a_place_for_every_tensor(net):
    check_full_size(shapes(net), net.side, 3, net.classes)


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
