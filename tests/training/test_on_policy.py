"""States that guidance visits: the samplers' own steps, and what comes of them."""

import itertools

import pytest
import torch

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Prediction
from sdg.diffusion.samplers import DDPM, ddim_step, ddpm_step
from sdg.diffusion.schedule import Schedule
from sdg.guidance.semantic import SemanticGuidance
from sdg.training.on_policy import OnPolicy

T, SHAPE = 100, (3, 3, 4, 4)
CENTRE = torch.linspace(-1, 1, 48, dtype=torch.float64).view(1, 3, 4, 4)


class Gaussian(torch.nn.Module):
    """E[x_0 | x_t] for pixels of variance 1 and mean 0, which is √ᾱ_t x_t."""

    def __init__(self, schedule: Schedule, learned: bool):
        super().__init__()
        self.schedule, self.learned = schedule, learned

    def forward(self, x, t):
        mean = self.schedule.alpha_bar(t).sqrt().to(x.dtype) * x
        return torch.cat([mean, x.sin()], 1) if self.learned else mean


def world(steps: int, gamma: float = 1.0, variance: str = "fixed_small") -> OnPolicy:
    schedule = Schedule("cosine", T)
    network = Gaussian(schedule, variance == "learned_range")
    denoiser = Denoiser(network, schedule, "x0", variance, clip=False)
    return OnPolicy(denoiser, schedule, torch.arange(T), steps, gamma)


def normal(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE, generator=generator, dtype=torch.float64)


def levels(level: int):
    return torch.full((SHAPE[0],), level)


def nearness(x, level):
    """−½ ‖x − c‖², which guidance climbs; its gradient is c − x."""
    return -(x - CENTRE).square().flatten(1).sum(1) / 2


class Sampling:
    """Noise as the samplers ask for it, from torch's own generator."""

    def __call__(self, stream: int = 0):
        return torch.randn(SHAPE, dtype=torch.float64)


@pytest.mark.parametrize("variance", ["fixed_small", "learned_range"])
def test_guided_states_are_those_of_the_guided_ancestral_sampler(variance):
    policy, x = world(steps=4, variance=variance), normal(0)
    torch.manual_seed(7)
    ours = policy.guided(x, levels(90), levels(30), nearness)

    torch.manual_seed(7)
    torch.rand(SHAPE[0], 1, 1, 1)  # of γ, which is 1 here
    guide = SemanticGuidance(gamma=1.0).prepare(nearness, policy.schedule, DDPM(4))
    for t, s in itertools.pairwise([90, 75, 60, 45, 30]):
        x = ddpm_step(policy.denoiser, x, t, s, Sampling(), guide).x
    torch.testing.assert_close(ours, x)


def test_what_comes_of_a_state_is_ddims_image():
    policy, x = world(steps=5), normal(1)
    ours = policy.finished(x, levels(74))
    for t, s in itertools.pairwise([74, 59, 44, 29, 14, -1]):
        x = ddim_step(policy.denoiser, x, t, s, Sampling()).x
    torch.testing.assert_close(ours, x)


def test_of_one_possible_image_it_comes_whatever_guidance_did():
    policy = world(steps=3, gamma=50.0)
    policy.prediction = lambda x, t: Prediction(CENTRE.expand_as(x))
    far = normal(2) + 10
    _, image = policy(far, torch.tensor([0, 40, 89]), lambda x, level: x.flatten(1).sum(1))
    torch.testing.assert_close(image, CENTRE.expand(SHAPE))


def test_images_of_a_batch_are_each_at_a_level_of_their_own():
    policy, x = world(steps=4), normal(3)
    together = policy.finished(x, torch.tensor([0, 40, 99]))
    for i, level in enumerate([0, 40, 99]):
        alone = policy.finished(x[i : i + 1], torch.tensor([level]))
        torch.testing.assert_close(together[i : i + 1], alone)


def test_no_state_is_at_a_level_that_it_cannot_be_finished_from():
    assert world(1).lowered(torch.tensor([0, 50, 99])).tolist() == [0, 45, 89]


def test_a_way_shorter_than_its_steps_stays_finite_with_a_learned_variance():
    policy = world(steps=4, variance="learned_range")
    torch.manual_seed(0)
    assert policy.guided(normal(0), levels(40), levels(39), nearness).isfinite().all()
    still = policy.guided(normal(0), levels(40), levels(40), nearness)
    assert torch.equal(still, normal(0))
