"""The paper's set-up equals its authors' code, written anew from guided-diffusion's definitions.

Theirs works on a respaced process, a process of its own whose β follow from the levels that are
taken; clips x̂_0 before guidance; guides every step, the last one too; and adds no noise there.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.samplers import DDIM, DDPM
from sdg.diffusion.sampling import sample
from sdg.diffusion.schedule import Schedule
from sdg.guidance.semantic import SemanticGuidance
from sdg.similarity.style import Style

T, SHAPE = 1000, (2, 3, 4, 4)
TARGET = torch.linspace(-1, 1, 48, dtype=torch.float64).view(1, 3, 4, 4)


class Network(nn.Module):
    """ε and, if learned, the weights of Σ, in float64; anything smooth of x and t will do."""

    def __init__(self, learned=True):
        super().__init__()
        self.learned = learned

    def forward(self, x, t):
        u = t.view(-1, 1, 1, 1).double() / T
        epsilon, weight = (1.3 - u) * x + 0.3 * x.roll(1, 1).sin() + 0.2, (3 * x + u).sin()
        return torch.cat([epsilon, weight], 1) if self.learned else epsilon


def similarity(x, level):
    """Some function of x and its level; its gradient is written out in `gradient`."""
    return -(1 + level / T) * (x - TARGET).square().flatten(1).sum(1)


def gradient(x, level):
    return -2 * (1 + level / T) * (x - TARGET)


class Respaced:
    """guided-diffusion's process of some levels, with its tables."""

    def __init__(self, levels, kind="learned_range"):
        self.levels, self.kind = levels, kind
        every = np.cumprod(1 - np.linspace(1e-4, 0.02, T))
        last, betas = 1.0, []
        for level in levels:
            betas.append(1 - every[level] / last)
            last = every[level]
        self.beta = np.array(betas)
        self.bar = np.cumprod(1 - self.beta)
        self.before = np.append(1.0, self.bar[:-1])
        self.variance = self.beta * (1 - self.before) / (1 - self.bar)
        self.log_variance = np.log(np.append(self.variance[1], self.variance[1:]))

    def predicted(self, x, i):
        """x̂_0 clipped, and Σ."""
        with torch.no_grad():
            out = Network()(x, torch.full((len(x),), self.levels[i]))
        epsilon, weight = out.chunk(2, 1)
        x0 = (x / math.sqrt(self.bar[i]) - math.sqrt(1 / self.bar[i] - 1) * epsilon).clamp(-1, 1)
        if self.kind == "fixed_small":
            return x0, torch.full_like(x0, self.variance[i])
        if self.kind == "fixed_large":
            return x0, torch.full_like(x0, np.append(self.variance[1], self.beta[1:])[i])
        share = (weight + 1) / 2
        log = share * math.log(self.beta[i]) + (1 - share) * self.log_variance[i]
        return x0, log.exp()

    def ddpm(self, x, noises, gamma):
        for i in reversed(range(len(self.levels))):
            x0, variance = self.predicted(x, i)
            one = self.beta[i] * math.sqrt(self.before[i]) / (1 - self.bar[i])
            two = (1 - self.before[i]) * math.sqrt(1 - self.beta[i]) / (1 - self.bar[i])
            mean = one * x0 + two * x
            mean = mean + variance * gamma * gradient(x, self.levels[i])
            x = mean + (variance.sqrt() * next(noises) if i else 0)
        return x

    def ddim(self, x, noises, gamma, eta):
        for i in reversed(range(len(self.levels))):
            x0, _ = self.predicted(x, i)
            root = math.sqrt(1 / self.bar[i] - 1)
            epsilon = (x / math.sqrt(self.bar[i]) - x0) / root
            epsilon = epsilon - math.sqrt(1 - self.bar[i]) * gamma * gradient(x, self.levels[i])
            x0 = x / math.sqrt(self.bar[i]) - root * epsilon
            sigma = eta * math.sqrt((1 - self.before[i]) / (1 - self.bar[i]))
            sigma *= math.sqrt(1 - self.bar[i] / self.before[i])
            mean = x0 * math.sqrt(self.before[i])
            mean = mean + math.sqrt(1 - self.before[i] - sigma**2) * epsilon
            x = mean + (sigma * next(noises) if i else 0)
        return x


def draws(count):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("steps", [2, 7, 20])
@pytest.mark.parametrize(
    "variance, eta",
    [
        *(("learned_range", eta) for eta in (None, 0.0, 0.6)),
        *((variance, None) for variance in ("fixed_small", "fixed_large")),
    ],
)
def test_every_sample_is_theirs(steps, variance, eta, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", lambda x: x)  # guidance's gradient in float64
    gamma = 0.05
    noises = draws(steps + 1)
    levels = [round(i * (T - 1) / (steps - 1)) for i in range(steps)]
    ours, theirs = iter(noises), iter(noises)
    schedule = Schedule("linear", T)
    network = Network(learned=variance == "learned_range")
    denoiser = Denoiser(network, schedule, "epsilon", variance)
    sampler = DDPM(steps) if eta is None else DDIM(steps, eta=eta)
    guidance = SemanticGuidance(gamma, gradient_at="x_t", last_step=True, clip_first=True)
    guide = guidance.prepare(similarity, schedule, sampler)
    found = sample(denoiser, sampler, lambda stream=0: next(ours), guide)
    x = next(theirs)
    process = Respaced(levels, variance)
    expected = (
        process.ddpm(x, theirs, gamma) if eta is None else process.ddim(x, theirs, gamma, eta)
    )
    # They clamp when they write the picture, we when the samples are done.
    torch.testing.assert_close(found, expected.clamp(-1, 1), rtol=0, atol=1e-10)
    assert (expected.abs() < 1).double().mean() > 0.3  # and not all is clamped


def test_by_default_the_last_step_is_not_guided_and_a_score_is_clipped_after():
    schedule, asked = Schedule("linear", T), []
    denoiser = Denoiser(Network(), schedule, "epsilon", "learned_range")

    def noted(x, level):
        asked.append(level)
        return similarity(x, level)

    for last in (False, True):
        asked.clear()
        guidance = SemanticGuidance(0.05, gradient_at="x_t", last_step=last, recurrence=2)
        guide = guidance.prepare(noted, schedule, DDPM(4))
        sample(denoiser, DDPM(4), lambda stream=0: draws(1)[0].float(), guide)
        # A guided last step is taken once, whatever the recurrence.
        assert asked == [999, 999, 666, 666, 333, 333] + [0] * last


def joint_style(maps, reference):
    """The authors' style loss of one stage: one Gram matrix of the whole batch."""

    def gram(f):
        b, c, h, w = f.shape
        f = f.reshape(b * c, h * w) / math.sqrt(b * c * h * w)
        return f @ f.T

    return (gram(maps) - gram(reference)).square().mean()


def share(batch):
    """Their gradient at one sample's maps, over that of our term."""
    generator = torch.Generator().manual_seed(1)
    maps, reference = (
        torch.randn(batch, 6, 5, 5, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    reference = reference[:1].expand_as(maps)
    maps.requires_grad_()
    term = Style(1.0, ["layer1"], "squared")
    ours = (term.features(maps) - term.features(reference)).square().flatten(1).mean(1).sum()
    (mine,) = torch.autograd.grad(ours, maps)
    (theirs,) = torch.autograd.grad(joint_style(maps, reference), maps)
    return float(theirs.norm() / mine.norm()), mine, theirs


def test_style_is_theirs_at_batch_one_and_theirs_is_weaker_in_a_batch():
    _, ours, theirs = share(1)
    torch.testing.assert_close(ours, theirs)
    assert 1 / 16 <= share(2)[0] < 0.2
    assert share(8)[0] < share(4)[0] < 0.05


def test_the_levels_are_theirs_but_for_ties():
    """guided-diffusion adds up the stride, so that it rounds some exact ties the other way."""
    differing = []
    for count in range(2, T + 1):
        place, theirs = 0.0, set()
        for _ in range(count):
            theirs.add(round(place))
            place += (T - 1) / (count - 1)
        ours = [t for t, _ in Schedule("linear", T).steps(count)]
        gaps = [abs(a - b) for a, b in zip(sorted(theirs), sorted(ours), strict=True)]
        assert max(gaps) <= 1
        if max(gaps):
            differing.append(count)
    assert not {10, 20, 25, 50, 100, 250, 500, 1000} & set(differing)
    assert 200 < len(differing) < 400  # 282 where this was written
