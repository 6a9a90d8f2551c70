"""ADM state dicts in every published layout.

At small width they meet the papers' network, at full size the meta device.
"""

import pytest
import torch
from adm import Net, forward, outputs, random_weights, shapes

from sdg.errors import UserError
from sdg.io.adm import FAMILIES, family_of, layout_of
from sdg.io.adm_file import from_adm
from sdg.models.build import build_denoiser


def small(family, channels=32):
    """The layout of a family at a small width, with heads as many or as wide in proportion."""
    return Net(
        channels,
        family.multipliers,
        family.blocks,
        family.attention,
        family.scale_shift,
        family.resnet_resampling,
        family.classes and 7,
        family.heads,
        family.head_width and 16,
        family.qkv == "qkv_first",
    )


def said(family, net):
    return {
        "schedule": family.schedule,
        "T": family.T,
        "resolution": family.resolution,
        "qkv": family.qkv,
        "time_scale": family.time_scale,
        **({"heads": net.heads} if net.heads else {"head_width": net.head_width}),
    }


def loaded(net, tensors, asked):
    found = from_adm(tensors, asked, "x.pt")
    model = build_denoiser(**found.config).double()
    model.load_state_dict({name: value.double() for name, value in found.tensors.items()})
    return model.eval()


@pytest.mark.parametrize(
    "family, learned",
    [*((family, True) for family in FAMILIES), (FAMILIES[0], False)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_converted_network_equals_the_papers(family, learned):
    net = small(family, 64 if 0.5 in family.multipliers else 32)._replace(
        learned=learned
    )  # a level of half the width still has 32 groups
    p = random_weights(net)
    side = 2 ** (len(net.multipliers) - 1)
    generator = torch.Generator().manual_seed(1)
    x, t = (
        torch.randn(2, 3, side, side, generator=generator, dtype=torch.float64),
        torch.tensor([3, family.T - 1]),
    )
    y = torch.tensor([5, 5]) if net.classes else None
    expected = forward(net, p, x, t * family.time_scale, y)
    model = loaded(net, p, said(family, net))
    model.label = 5 if net.classes else None
    with torch.no_grad():
        found = outputs(model(x, t))
    assert ((found - expected).norm() / expected.norm()) < 1e-8


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_full_size_layout_is_recognised_and_every_tensor_has_one_place(family):
    net = Net(
        family.channels,
        family.multipliers,
        family.blocks,
        family.attention,
        family.scale_shift,
        family.resnet_resampling,
        family.classes,
        family.heads,
        family.head_width,
    )
    with torch.device("meta"):
        tensors = {name: torch.empty(shape) for name, shape in shapes(net).items()}
        assert family_of(layout_of(tensors)) == family
        found = from_adm(tensors, {}, "x.pt")
        model = build_denoiser(**found.config)
    wanted = model.state_dict()
    assert {name: value.shape for name, value in found.tensors.items()} == {
        name: value.shape for name, value in wanted.items()
    }
    # Attention's qkv is one tensor there and three here.
    assert sum(value.numel() for value in found.tensors.values()) == sum(
        value.numel() for value in tensors.values()
    )
    assert (found.config["resolution"], found.config["schedule"]) == (
        family.resolution,
        {"kind": family.schedule, "T": family.T},
    )
    assert all(
        source == ("the file" if name == "variance" else family.name)
        for name, (_, source) in found.sources.items()
    )


def test_a_wrong_order_of_qkv_loads_and_gives_another_image():
    family = next(family for family in FAMILIES if family.name.startswith("ilvr"))
    net = small(family)
    p, x, t = (
        random_weights(net),
        torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
        torch.tensor([500]),
    )
    with torch.no_grad():
        right, wrong = (
            outputs(loaded(net, p, said(family, net) | {"qkv": order})(x, t))
            for order in ("heads_first", "qkv_first")
        )
    assert (right - wrong).norm() / right.norm() > 0.01  # why the order is never guessed


def test_what_the_user_says_goes_before_the_family():
    family = FAMILIES[5]
    net = Net(
        family.channels,
        family.multipliers,
        family.blocks,
        family.attention,
        classes=None,
        head_width=64,
    )
    with torch.device("meta"):
        found = from_adm(
            {name: torch.empty(shape) for name, shape in shapes(net).items()},
            {"schedule": "cosine", "head_width": 32},
            "x.pt",
        )
    assert (
        found.config["schedule"]["kind"] == "cosine"
        and found.sources["schedule"] == ("cosine", "you")
        and found.sources["T"] == (1000, family.name)
    )
    assert found.config["denoiser"]["network"]["attention_head_dim"] == 32


def test_a_layout_of_no_family_asks_for_what_it_cannot_tell():
    p = random_weights(Net(32, (1, 2), 1, (1,), head_width=16), dtype=torch.float32)
    with pytest.raises(
        UserError,
        match=r"x\.pt is an ADM U-Net that no published family has \(32 channels × 1,2, "
        r"1 blocks a level, attention at levels 1, .*"
        r"set resolution, schedule, T, qkv, "
        r"heads or head_width",
    ):
        from_adm(p, {}, "x.pt")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: p.pop("time_embed.0.weight"), "no ADM"),
        (
            lambda p: p.update({"out.2.weight": torch.zeros(4, 32, 3, 3)}),
            "take 3 channels and give 4",
        ),
        (
            lambda p: p.update({"input_blocks.0.0.weight": torch.zeros(32, 6, 3, 3)}),
            "take 6 channels.*Upsamplers are not supported",
        ),
        (
            lambda p: p.update({"extra": torch.zeros(1)}),
            "1 tensors that an ADM U-Net of their layout has not, such as extra",
        ),
        (
            lambda p: [p.pop(name) for name in list(p) if name.startswith("output_blocks.")],
            "have no output_blocks.0.0.in_layers.0.weight",
        ),
        (
            lambda p: p.pop("input_blocks.3.0.out_layers.3.weight"),
            "have no input_blocks.3.0.out_layers.3.weight",
        ),
        (
            lambda p: p.update({"output_blocks.4.0.in_layers.0.weight": torch.zeros(1)}),
            "which no ADM U-Net has",
        ),
    ],
)
def test_weights_of_another_structure_are_refused(change, message):
    p = random_weights(Net(32, (1, 2), 1, (1,), head_width=16), dtype=torch.float32)
    change(p)
    with pytest.raises(UserError, match=message):
        from_adm(
            p,
            {
                "resolution": 8,
                "schedule": "linear",
                "T": 1000,
                "qkv": "heads_first",
                "head_width": 16,
            },
            "x.pt",
        )


def test_a_variance_that_the_file_has_not_is_refused():
    p = random_weights(Net(32, (1, 2), 1, (1,), head_width=16), dtype=torch.float32)
    learned = p["out.2.weight"].shape[0] == 6
    with pytest.raises(UserError, match="^variance=.* learned"):
        from_adm(
            p,
            {
                "resolution": 8,
                "schedule": "linear",
                "T": 1000,
                "qkv": "heads_first",
                "head_width": 16,
                "variance": "fixed_small" if learned else "learned_range",
            },
            "x.pt",
        )


def test_heads_that_do_not_divide_a_width_are_refused():
    p = random_weights(Net(32, (1, 2), 1, (1,), head_width=16), dtype=torch.float32)
    with pytest.raises(UserError, match="7 attention heads do not divide 64 channels"):
        from_adm(
            p,
            {"resolution": 8, "schedule": "linear", "T": 1000, "qkv": "heads_first", "heads": 7},
            "x.pt",
        )


@pytest.mark.parametrize("qkv_first", [False, True])
@pytest.mark.parametrize("multipliers, attention", [((1, 2, 4), (1, 2)), ((1, 2), (1,))])
def test_heads_on_the_way_up_are_those_that_the_user_says(multipliers, attention, qkv_first):
    net = Net(*(32, multipliers, 1, attention), heads=2, heads_upsample=8, qkv_first=qkv_first)
    p, side = random_weights(net), 2 ** (len(multipliers) - 1)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 4 * side, 4 * side, generator=generator, dtype=torch.float64)
    t = torch.tensor([3, 900])
    order = "qkv_first" if qkv_first else "heads_first"
    asked = {"schedule": "linear", "T": 1000, "resolution": 4 * side, "qkv": order, "heads": 2}
    with torch.no_grad():
        expected = forward(net, p, x, t)
        read = outputs(loaded(net, p, asked | {"heads_upsample": 8})(x, t))
        assumed = outputs(loaded(net, p, asked)(x, t))
    assert (read - expected).norm() / expected.norm() < 1e-8
    assert (assumed - expected).norm() / expected.norm() > 0.01  # why the value is printed


def test_the_number_of_heads_on_the_way_up_says_where_it_comes_from():
    net = Net(32, (1, 2), 1, (1,), heads=2)
    p = random_weights(net, dtype=torch.float32)
    asked = {"resolution": 8, "schedule": "linear", "T": 1000, "qkv": "heads_first", "heads": 2}
    found = from_adm(p, asked, "x.pt")
    assert found.sources["heads_upsample"] == (2, "assumed: as many as heads")
    assert "heads_upsample" not in found.config["denoiser"]
    found = from_adm(p, asked | {"heads_upsample": 4}, "x.pt")
    assert found.sources["heads_upsample"] == (4, "you")
    del asked["heads"]
    with pytest.raises(UserError, match="heads_upsample goes with heads"):
        from_adm(p, asked | {"head_width": 16, "heads_upsample": 4}, "x.pt")
