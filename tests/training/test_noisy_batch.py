"""The noisy images of a training step."""

import pytest
import torch

from sdg.diffusion.schedule import Schedule
from sdg.training.noisy_batch import NoisyBatch, NoisyBatches, pictures
from sdg.training.posterior import log_posterior

SCHEDULE = Schedule("cosine", 1000)
TEXT = torch.eye(3)


class Linear:
    """z: the first three pixels."""

    def __call__(self, x, t):
        return x.flatten(1)[:, :3]


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_levels_are_distributed_as_they_say(power):
    torch.manual_seed(0)
    t = NoisyBatches(SCHEDULE, power, 0.0, None, 0.0).draw_levels(20_000)
    assert 0 <= t.min() and t.max() < SCHEDULE.T
    for share in (0.1, 0.5, 0.9):  # t < a T as often as u < a^(1/p)
        found = (t < share * SCHEDULE.T).double().mean()
        assert found == pytest.approx(share ** (1 / power), abs=0.015)


def test_drawn_images_are_those_of_q():
    torch.manual_seed(0)
    x0 = torch.rand(4, 1, 2, 2, dtype=torch.float64)
    batch = NoisyBatches(SCHEDULE, 1.0, 0.0, None, 0.0).draw(x0)
    a = SCHEDULE.alpha_bar(batch.t).view(4, 1, 1, 1)
    torch.testing.assert_close(batch.x_t, a.sqrt() * x0 + (1 - a).sqrt() * batch.noise)
    assert batch.drawn == 4 and torch.equal(batch.x0, x0)


def test_moved_images_favour_a_sentence_and_stay_within_the_radius():
    torch.manual_seed(0)
    x0, radius = torch.rand(64, 1, 2, 2, dtype=torch.float64), 0.5
    batches = NoisyBatches(SCHEDULE, 1.0, radius, None, 0.0)
    batch = batches.draw(x0)
    moved = batches.alter(batch, Linear(), [[TEXT]])
    step = (moved.x_t - batch.x_t).flatten(1)
    sigma = (1 - SCHEDULE.alpha_bar(batch.t)).sqrt().flatten()
    length = step.norm(dim=1) / (radius * sigma)
    assert length.max() < 1 and length.mean() == pytest.approx(0.5, abs=0.1)
    assert not step[:, 3].any()  # of which the encoder sees nothing
    before, after = (log_posterior(Linear()(x, None), TEXT) for x in (batch.x_t, moved.x_t))
    # The sentence that an image was moved towards is believed more.
    assert ((after - before).max(1).values > 0).all()


class Doubling:
    """An autoencoder whose decoder doubles; the others are not called."""

    def eval(self):
        return self

    def decode(self, z):
        self.decoded = len(z)
        return 2 * z


@pytest.mark.parametrize(("drawn", "decoded"), [(3, 0), (2, 1)])
def test_the_teacher_sees_images_and_only_what_guidance_made_is_decoded(drawn, decoded):
    images, z, autoencoder = torch.rand(3, 3, 4, 4), torch.rand(3, 3, 4, 4), Doubling()
    autoencoder.decoded = 0
    seen = pictures(NoisyBatch(z, torch.zeros(3), z, z, drawn), images, autoencoder)
    assert autoencoder.decoded == decoded and torch.equal(seen[:drawn], images[:drawn])
    assert torch.equal(seen[drawn:], (2 * z[drawn:]).clamp(-1, 1))
    assert pictures(NoisyBatch(z, torch.zeros(3), z, z, drawn), images, None) is z
