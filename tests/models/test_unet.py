"""The encoder that starts as a denoiser's contracting half."""

import pytest
import torch

from sdg.diffusion.schedule import Schedule
from sdg.errors import UserError
from sdg.io.weights import save
from sdg.models.build import build_denoiser
from sdg.models.registry import load_clip_noisy
from sdg.models.stages import stages
from sdg.models.unet import UNetEncoder
from tests.models.test_noise_aware import TOWERS, clip_of

SCHEDULE = {"kind": "cosine", "T": 1000}
NETWORK = {
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 8,
    "norm_num_groups": 4,
}


def denoiser_of(resolution: int = 32):
    torch.manual_seed(0)
    return build_denoiser(
        {"prediction": "x0", "patch": 4, "network": NETWORK}, SCHEDULE, resolution
    )


def encoder_of(**options) -> UNetEncoder:
    torch.manual_seed(1)
    clip = clip_of(TOWERS["GroupNorm"])
    return UNetEncoder.from_denoiser(
        denoiser_of(), clip.config, schedule=SCHEDULE, **options
    ).eval()


def images(count: int, side: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(2))


def test_it_starts_with_what_the_denoiser_sees_in_its_middle():
    denoiser, encoder, seen = denoiser_of().eval(), encoder_of(), []
    x, t = images(2), torch.tensor([3, 700])
    denoiser.network.mid_block.attentions[0].register_forward_hook(
        lambda *call: seen.append(call[2])
    )
    denoiser(x, t)
    torch.testing.assert_close(encoder.encode(x, t, ["middle"]).maps["middle"], seen[0])


def test_every_weight_of_the_half_is_the_denoisers_and_a_copy():
    denoiser, encoder = denoiser_of(), encoder_of()
    theirs = [value for value in denoiser.network.state_dict().values() if value.ndim > 1]
    own = {name: value for name, value in encoder.tower.state_dict().items() if value.ndim > 1}
    for name, value in own.items():
        copied = any(value.shape == other.shape and torch.equal(value, other) for other in theirs)
        assert copied == (not name.startswith(("head", "squeeze"))), name
    assert not {value.data_ptr() for value in own.values()} & {value.data_ptr() for value in theirs}


@pytest.mark.parametrize("calibrated", [False, True])
def test_its_file_gives_it_back(tmp_path, calibrated):
    encoder, x, t = encoder_of(calibrated=calibrated), images(2), torch.tensor([3, 700])
    found = load_clip_noisy(
        save(tmp_path / "encoder.safetensors", "clip_noisy", encoder, encoder.config)
    )
    assert isinstance(found, UNetEncoder) and found.calibrated == calibrated
    z, expected = found.embed(x, t), encoder.embed(x, t).detach()
    assert (z - expected).norm() < 1e-5 * expected.norm()


def test_recomputed_blocks_give_the_same_gradient():
    encoder, t = encoder_of(), torch.tensor([3, 700])
    gradients = []
    for encoder.checkpointing in (False, True):
        x = images(2).requires_grad_()
        gradients.append(torch.autograd.grad(encoder.embed(x, t).sum(), x)[0])
    torch.testing.assert_close(*gradients)


def test_its_levels_are_its_stages():
    encoder, x, t = encoder_of(), images(2), torch.tensor([3, 700])
    assert list(stages(encoder.tower)) == ["levels.0", "levels.1", "middle"]
    maps = encoder.encode(x, t, ["levels.0", "levels.1"]).maps
    assert [tuple(value.shape) for value in maps.values()] == [(2, 16, 4, 4), (2, 32, 4, 4)]


def test_a_denoiser_of_other_images_is_refused():
    clip = clip_of(TOWERS["GroupNorm"])
    with pytest.raises(
        UserError, match="module.denoiser draws 64 pixels a side, this encoder sees 32"
    ):
        UNetEncoder.from_denoiser(denoiser_of(64), clip.config, schedule=SCHEDULE)


def test_a_denoiser_of_other_noise_levels_is_refused():
    clip = clip_of(TOWERS["GroupNorm"])
    with pytest.raises(UserError, match="module.denoiser was trained with the schedule"):
        UNetEncoder.from_denoiser(
            denoiser_of(), clip.config, schedule={"kind": "linear", "T": 1000}
        )


def test_a_foreign_denoiser_is_refused():
    denoiser = denoiser_of()
    denoiser.config = {"resolution": 32, "schedule": SCHEDULE}
    with pytest.raises(UserError, match="module.tower=clip"):
        UNetEncoder.from_denoiser(denoiser, clip_of(TOWERS["GroupNorm"]).config, schedule=SCHEDULE)


def estimating(**options) -> tuple[UNetEncoder, torch.nn.Module]:
    """An encoder that reads x̂_0 too, every weight of which counts, and its denoiser."""
    encoder, denoiser = encoder_of(estimate=True, **options).double(), denoiser_of().double().eval()
    torch.nn.init.normal_(encoder.tower.conv_in.weight, std=0.1)
    encoder.attach(denoiser)
    return encoder, denoiser


def test_an_encoder_of_the_estimate_starts_as_the_one_without():
    x, t = images(2), torch.tensor([3, 700])
    encoder = encoder_of(estimate=True)
    encoder.attach(denoiser_of().eval())
    maps = [each.encode(x, t, ["middle"]).maps["middle"] for each in (encoder, encoder_of())]
    torch.testing.assert_close(*maps)


def test_a_part_of_its_gradient_passes_through_the_denoiser():
    encoder, denoiser = estimating()
    x, t = images(2).double(), torch.tensor([3, 700])
    direction = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    seen = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(encoder.embed(seen, t).sum(), seen)
    step = 1e-5 * direction
    ahead, behind = (encoder.embed(x + sign * step, t) for sign in (1, -1))
    slope = (ahead - behind).sum() / 2e-5
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-8)
    x0 = denoiser(x, t).x0
    apart = x.clone().requires_grad_()
    z = super(UNetEncoder, encoder).embed(torch.cat([apart, x0.detach()], 1), t)
    (without,) = torch.autograd.grad(z.sum(), apart)
    assert (gradient - without).norm() > 0.01 * gradient.norm()


def test_the_file_of_one_that_reads_the_estimate_gives_it_back(tmp_path):
    encoder, denoiser = estimating(calibrated=True)
    file = save(tmp_path / "encoder.safetensors", "clip_noisy", encoder.float(), encoder.config)
    found, x, t = load_clip_noisy(file), images(2), torch.tensor([3, 700])
    with pytest.raises(UserError, match="give it the denoiser first"):
        found.embed(x, t)
    found.attach(denoiser.float())
    torch.testing.assert_close(found.embed(x, t), encoder.embed(x, t), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="at 32 pixels a side, the denoiser draws 64"):
        found.attach(denoiser_of(64))


def test_an_encoder_keeps_the_denoiser_that_it_was_given_first():
    encoder, denoiser = estimating()
    encoder.attach(denoiser)  # the same again
    with pytest.raises(UserError, match="reads the estimates of another denoiser already"):
        encoder.attach(denoiser_of())
    assert encoder.beside[0] is denoiser


def test_an_encoder_says_whose_schedule_lacks_a_level():
    encoder, denoiser = encoder_of(estimate=True), denoiser_of()
    denoiser.schedule = Schedule("cosine", 5)
    with pytest.raises(UserError, match="the denoiser's schedule .cosine, T=5. has no level"):
        encoder.attach(denoiser)


def test_a_forward_pass_leaves_the_denoiser_where_it_is():
    encoder, denoiser = estimating()
    denoiser.to("meta")
    with pytest.raises(Exception):  # noqa: B017  (torch's own, of two devices)
        encoder.embed(images(1).double(), torch.tensor([3]))
    assert {parameter.device.type for parameter in denoiser.parameters()} == {"meta"}


@pytest.mark.parametrize("options", [{"calibrated": True}, {"estimate": True, "calibrated": True}])
def test_one_level_of_all_images_is_embedded_once(options):
    encoder, level, rows = encoder_of(**options), torch.tensor([400]), []
    if encoder.reads_estimate:
        encoder.attach(denoiser_of().eval())
    embedding = encoder.tower.time_embedding
    embedding.register_forward_hook(lambda _, inputs, output: rows.append(len(output)))
    one, each = (encoder.embed(images(3), t) for t in (level.expand(3), level.repeat(3)))
    assert rows == [1, 3]
    torch.testing.assert_close(one, each)
