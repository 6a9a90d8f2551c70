"""The autoencoder's loss and scale against closed forms."""

import math
from types import SimpleNamespace

import pytest
import torch
from latent import autoencoder_tiny
from torch import nn
from torch.distributions import Normal, kl_divergence

from sdg.data.image_set import ImageSet
from sdg.data.shapes_data import ShapesData
from sdg.errors import UserError
from sdg.models.autoencoder import Autoencoder, new_autoencoder
from sdg.report.grid import plain_grid
from sdg.training.autoencoder import AutoencoderTraining, kl_to_normal, mean_and_deviation
from sdg.training.module import warmup_cosine

NETWORK = {"latent_channels": 2, "block_out_channels": [4, 8], "norm_num_groups": 4}
TRAINING = {"optimizer": torch.optim.AdamW, "lr_schedule": warmup_cosine}
W, S, V = 0.6, 0.3, 1.5  # of a linear autoencoder


class AutoencoderKL(nn.Module):
    """A linear one: E(x) = N(w · mean of 2 × 2 pixels of red, s²), D(z) = v · z at each of them."""

    def __init__(self):
        super().__init__()
        levels = {"block_out_channels": (1, 1), "latent_channels": 1}
        self.config = {"in_channels": 3, "out_channels": 3, "scaling_factor": 1.0} | levels
        self.decoder = nn.Identity()

    def encode(self, x):
        mean = W * nn.functional.avg_pool2d(x[:, :1], 2)
        std = torch.full_like(mean, S)
        posterior = SimpleNamespace(mean=mean, std=std, logvar=2 * std.log(), mode=lambda: mean)
        return SimpleNamespace(latent_dist=posterior)

    def decode(self, z):
        x = V * nn.functional.interpolate(z, scale_factor=2)
        return SimpleNamespace(sample=x.expand(-1, 3, -1, -1))

    def register_to_config(self, **options):
        self.config |= options


def training(autoencoder, **options):
    module = AutoencoderTraining(autoencoder, **TRAINING, **options)
    module.log_dict = lambda *_, **__: None
    return module


def test_the_divergence_is_torchs_own():
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = (torch.randn(50, generator=generator).double() for _ in range(2))
    zero, one = torch.zeros_like(mean), torch.ones_like(mean)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(zero, one))
    assert torch.allclose(kl_to_normal(mean, log_variance), expected, rtol=1e-12, atol=1e-14)
    assert kl_to_normal(zero[:1], zero[:1]) == 0


@pytest.mark.parametrize("reconstruction", ["l1", "squared"])
def test_the_loss_of_a_linear_autoencoder(reconstruction):
    """Of grey images x: the error v (w x + s ε) − x, the divergence ½ (w²x² + s² − 1 − log s²)."""
    grey = torch.linspace(-0.8, 0.9, 6, dtype=torch.float64)
    batch = {"image": grey.view(-1, 1, 1, 1).expand(-1, 3, 8, 8)}
    module = training(Autoencoder(AutoencoderKL()), reconstruction=reconstruction, kl_weight=0.25)
    torch.manual_seed(3)
    loss = module.training_step(batch, 0)
    torch.manual_seed(3)
    noise = torch.randn(6, 1, 4, 4).double()
    x = grey.view(-1, 1, 1, 1)
    error = V * (W * x + S * noise) - x
    mean_error = error.abs().mean() if reconstruction == "l1" else error.square().mean()
    divergence = 0.5 * ((W * grey) ** 2 + S**2 - 1 - math.log(S**2)).mean()
    assert loss.item() == pytest.approx((mean_error + 0.25 * divergence).item(), rel=1e-6)


def test_the_mean_loss_of_a_linear_autoencoder_has_a_closed_form():
    """E (v (w x + s ε) − x)² = (v w − 1)² x² + v² s²."""
    module = training(Autoencoder(AutoencoderKL()), reconstruction="squared", kl_weight=0.0)
    torch.manual_seed(0)
    loss = module.training_step({"image": torch.full((64, 3, 64, 64), 0.7)}, 0)
    expected = (V * W - 1) ** 2 * 0.7**2 + (V * S) ** 2
    assert loss.item() == pytest.approx(expected, rel=0.02)  # 65536 draws: 0.6 % each deviation


def test_scaled_latents_have_mean_0_and_variance_1():
    torch.manual_seed(1)
    data = ShapesData(resolution=32, size=48, held_out=8, cache=None, batch_size=16)
    data.setup("fit")
    module = training(new_autoencoder(NETWORK), scale_images=len(data.train))
    module.finish(data, torch.device("cpu"))
    images = data.train.__getitems__(list(range(len(data.train))))["image"]
    z = module.model.encode(images).double()
    assert abs(z.mean()) < 1e-6 and z.var(correction=0).item() == pytest.approx(1, abs=1e-5)
    raw = module.model.network.encode(images).latent_dist.mean.double()
    options = module.model.config["options"]
    assert options["shift_factor"] == pytest.approx(raw.mean().item(), rel=1e-5)
    assert options["scaling_factor"] == pytest.approx(1 / raw.std(correction=0).item(), rel=1e-5)
    module.finish(data, torch.device("cpu"))  # measured anew, not on top of it
    assert torch.allclose(module.model.encode(images).double(), z, atol=1e-5)


class Sorted(ImageSet):
    """Black images, then white ones."""

    def __len__(self):
        return 200

    def __getitems__(self, indices):
        values = torch.tensor([-1.0 if k < 100 else 1.0 for k in indices])
        return {"image": values.view(-1, 1, 1, 1).expand(-1, 3, 8, 8)}


@pytest.mark.parametrize("count", [2, 50, 130, 200, 1000])
def test_the_scale_is_measured_over_all_of_the_data(count):
    """Half of the images that are taken are of each half: the mean is 0, the deviation w."""
    module = training(Autoencoder(AutoencoderKL()), scale_images=count)
    data = SimpleNamespace(train=Sorted())
    assert sum(map(len, module.measured_images(data))) == min(count, 200)
    module.finish(data, torch.device("cpu"))
    options = module.model.network.config
    assert options["shift_factor"] == pytest.approx(0, abs=1e-7)
    assert options["scaling_factor"] == pytest.approx(1 / W, rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.5])
def test_latents_of_which_no_scale_follows_are_refused(value):
    with pytest.raises(UserError, match="no scale follows, so nothing is exported"):
        mean_and_deviation([torch.full((2, 4), value), torch.full((1, 4), value)])


def test_the_mean_and_deviation_are_those_of_all_batches():
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, 3, generator=generator) * 2 + 5 for n in (7, 4)]
    every = torch.cat(parts).double()
    assert mean_and_deviation(parts) == pytest.approx(
        (every.mean().item(), every.std(correction=0).item()), rel=1e-12
    )


def test_another_autoencoder_is_not_trained():
    with pytest.raises(UserError, match="an AutoencoderKL is trained here, not an AutoencoderTiny"):
        training(Autoencoder(autoencoder_tiny()))


def test_a_digest_tells_weights_scale_and_shift():
    torch.manual_seed(0)
    model = new_autoencoder(NETWORK)
    first = model.latents_digest
    model.rescale(2.0, 0.5)
    scaled = model.latents_digest
    with torch.no_grad():
        model.network.quant_conv.bias.add_(1e-3)
    assert len({first, scaled, model.latents_digest}) == 3


@pytest.mark.parametrize(("count", "shown"), [(3, 3), (8, 8), (12, 8), (16, 16)])
def test_below_each_row_of_images_is_what_comes_of_them(tmp_path, monkeypatch, count, shown):
    grids = []

    def grid(pairs, columns):
        grids.append((pairs, columns))
        return plain_grid(pairs, columns)

    monkeypatch.setattr("sdg.training.autoencoder.plain_grid", grid)
    trainer = SimpleNamespace(default_root_dir=tmp_path)
    images = torch.arange(count).view(-1, 1, 1, 1).expand(-1, 3, 4, 4) / 100
    AutoencoderTraining.show(SimpleNamespace(trainer=trainer, global_step=0), images, images + 0.5)
    pairs, columns = grids[0]
    assert len(pairs) == 2 * shown
    rows = pairs.split(columns)
    for row, below in zip(rows[::2], rows[1::2], strict=True):
        torch.testing.assert_close(below, row + 0.5)
