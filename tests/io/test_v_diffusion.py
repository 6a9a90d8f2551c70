"""v-diffusion: v of a continuous time, and two generations of U-Nets in one layout."""

import math

import pytest
import torch
from foreign import denoiser_of, on_meta, random_tensors, relative, same_tensors
from v_diffusion import Net, forward, given_time, published_time, shapes

from sdg import DDIM, DDPM
from sdg.diffusion.sampling import sample
from sdg.errors import UserError
from sdg.io.pretrained import from_state_dict, open_denoiser

SMALL = {
    "as yfcc_2": Net(16, (8, 64, 128), 2, (2,)),
    "as yfcc_1": Net(16, (8, 64, 64), 4, (2,)),
    "as danbooru_128": Net(16, (8, 128, 256), 2, (2,), ported=True, last_relu=True),
    "as imagenet_128": Net(16, (8, 128, 128), 4, (2,), ported=True),
    "as wikiart_128": Net(16, (8, 16, 24), 4, (), ported=True, last_relu=True),
}
# {name: (network, millions of parameters, where they were published)}
PUBLISHED = {
    "yfcc_1": (Net(512, (128, 128, 256, 256, 512, 512, 1024, 1024), 4, (5, 6, 7)), 481),
    "yfcc_2": (Net(512, (128, 256, 512, 512, 1024, 1024, 2048, 2048), 2, (5, 6, 7)), 968),
    "danbooru_128": (
        Net(128, (256, 512, 512, 1024, 1024, 2048), 2, (3, 4, 5), True, True),
        None,
    ),
    "imagenet_128": (Net(128, (128, 256, 256, 512, 512, 1024), 4, (3, 4, 5), True), None),
    "wikiart_128": (Net(128, (128, 256, 256, 512, 512, 1024), 4, (), True, True), None),
    "wikiart_256": (Net(256, (64, 128, 256, 256, 512, 512, 1024), 4, (4, 5, 6), True), None),
}


def normal(net, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, net.side, net.side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("net", SMALL.values(), ids=SMALL)
def test_the_image_is_the_one_that_v_says(net):
    p = random_tensors(shapes(net))
    denoiser, x = denoiser_of(p), normal(net)
    assert denoiser.resolution == net.side and denoiser.prediction == "v"
    for level in (0, 300, 999):
        phi = published_time((level + 1) / 1000, net.ported)
        time = torch.full((2,), given_time(net, phi), dtype=torch.float64)
        alpha, sigma = math.cos(math.pi * phi / 2), math.sin(math.pi * phi / 2)
        expected = alpha * x - sigma * forward(net, p, x, time)
        assert relative(denoiser(x, level).x0, expected) < 1e-9


@pytest.mark.parametrize("net", [SMALL["as yfcc_2"], SMALL["as danbooru_128"]])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_samples_are_those_of_the_published_loop(net, eta):
    """`trailing` is its grid, u = 1, 0.9, … 0.1, which ends with an estimate."""
    p = random_tensors(shapes(net))
    draws = [normal(net, seed) for seed in range(11)]
    order = iter(draws)
    sampler = DDPM(10, "trailing") if eta == 1 else DDIM(10, "trailing", eta)
    last = []
    sample(
        *(denoiser_of(p), sampler, lambda stream=0: next(order)),
        on_step=lambda done, step: last.append(step.x),
    )
    x = draws[0]
    times = [published_time((10 - i) / 10, net.ported) for i in range(10)]
    alpha, sigma = ([f(math.pi * phi / 2) for phi in times] for f in (math.cos, math.sin))
    for i, phi in enumerate(times):
        v = forward(net, p, x, torch.full((2,), given_time(net, phi), dtype=torch.float64))
        clean, noise = x * alpha[i] - v * sigma[i], x * sigma[i] + v * alpha[i]
        if i < 9:
            new = eta * sigma[i + 1] / sigma[i] * math.sqrt(1 - (alpha[i] / alpha[i + 1]) ** 2)
            rest = math.sqrt(sigma[i + 1] ** 2 - new**2)
            x = clean * alpha[i + 1] + noise * rest + new * draws[i + 1]
    assert relative(last[-1], clean) < 1e-9


@pytest.mark.parametrize("net, millions", PUBLISHED.values(), ids=PUBLISHED)
def test_full_size_has_a_place_for_every_tensor(net, millions):
    file, model = on_meta(shapes(net))
    assert same_tensors(file, model)
    assert model.resolution == net.side
    network = model.network
    assert (network.ported, network.last_relu) == (net.ported, net.last_relu)
    if millions:
        count = sum(value.numel() for value in model.parameters())
        assert round(count / 1e6) == millions


def test_a_published_pickle_of_tensors_is_read_and_its_resolution_can_be_said(tmp_path):
    tensors = random_tensors(shapes(SMALL["as yfcc_2"]), dtype=torch.float32)
    torch.save(tensors, tmp_path / "yfcc_2.pth")
    file = open_denoiser(tmp_path / "yfcc_2.pth", {"resolution": 32})
    assert file.config["resolution"] == 32
    assert torch.equal(file.tensors["network.net.0.main.0.weight"], tensors["net.0.main.0.weight"])


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda p: p.update({"mapping_timestep_embed.weight": torch.zeros(64, 1)}),
            "conditioned on an embedding of CLIP, as cc12m_1 is, which is not known here",
        ),
        (lambda p: p.update({"timestep_embed.weight": torch.zeros(8)}), "of 2 dimensions"),
        (lambda p: p.pop("net.1.main.0.weight"), r"its levels have \[1\] blocks on the way down"),
        (
            lambda p: p.update({"net.2.main.3.main.1.main.0.weight": torch.zeros(96, 64, 3, 3)}),
            "attention of 96 channels, which heads of 64 do not divide",
        ),
    ],
)
def test_damaged_and_unknown_files_get_one_line(change, message):
    tensors = random_tensors(shapes(SMALL["as yfcc_2"]))
    change(tensors)
    with pytest.raises(UserError, match=message):
        from_state_dict(tensors, {}, "x.safetensors")


def test_a_network_of_which_nobody_says_how_it_ends_is_refused():
    tensors = random_tensors(shapes(Net(16, (8, 16, 24), 2, (), ported=True)))
    with pytest.raises(UserError, match="2 blocks a level without attention, of which nobody"):
        from_state_dict(tensors, {}, "x.safetensors")


def test_a_resolution_that_does_not_halve_is_refused():
    tensors = random_tensors(shapes(SMALL["as yfcc_2"]))
    with pytest.raises(UserError, match="halves its images 2 times, so not resolution=18"):
        from_state_dict(tensors, {"resolution": 18}, "x.safetensors")
    with pytest.raises(UserError, match="takes no family"):
        from_state_dict(tensors, {"family": "edm"}, "x.safetensors")
