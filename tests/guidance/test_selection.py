"""Candidates: which goes on, and that nothing else changes."""

import pytest
import torch

from sdg import Pipeline
from sdg.data.requests import Request
from sdg.diffusion.samplers import DDPM
from sdg.errors import UserError
from sdg.guidance.selection import candidate_seeds
from sdg.guidance.semantic import SemanticGuidance
from sdg.models.registry import load_denoiser
from sdg.pipeline.guided_run import GuidedRun

STEPS = 5


@pytest.fixture(scope="module")
def pipe(weights) -> Pipeline:
    return Pipeline(load_denoiser(weights / "denoiser.safetensors"), sampler=DDPM(STEPS))


def brightness(x, level):
    return 20 * x.mean((1, 2, 3))


def chosen(pipe: Pipeline, gamma: float = 1.0, **options):
    guidance = SemanticGuidance(gamma, **options)
    return pipe(
        similarity=brightness, num_samples=2, guidance=guidance, trajectory=True, progress=False
    )


def alone(pipe: Pipeline, seed: int, gamma: float):
    """One sample, from a noise with this seed, with all its steps."""
    guidance, steps = SemanticGuidance(gamma), []
    request = Request(0, seed, {})
    run = GuidedRun(pipe, pipe.sampler, guidance, functions=[brightness])
    run.draw([request], lambda done, step: steps.append(step))
    return steps


@pytest.mark.parametrize(("level", "gamma"), [(0.3, 1.0), (0.8, 1.0), (0.3, -1.0)])
def test_the_most_similar_candidate_goes_on_as_it_would_alone(pipe, level, gamma):
    """With γ < 0 it is the least similar one."""
    samples = chosen(pipe, gamma, candidates=3, select_at=level)
    levels = [s for _, s in DDPM(STEPS).grid(pipe.denoiser.schedule)]
    at = next(k for k, s in enumerate(levels) if s <= level * 999)
    for sample, seed in zip(samples.tensors, samples.seeds, strict=True):
        runs = [alone(pipe, each, gamma) for each in candidate_seeds([seed], 3)]
        scores = [gamma * float(brightness(run[at].x0, -1)) for run in runs]
        best = runs[max(range(3), key=scores.__getitem__)][-1].x[0].clamp(-1, 1)
        torch.testing.assert_close(sample, best)


def test_one_candidate_is_the_sample_that_would_be_without(pipe):
    plain = pipe(similarity=brightness, num_samples=2, gamma=1.0, progress=False)
    torch.testing.assert_close(chosen(pipe, candidates=1).tensors, plain.tensors, rtol=0, atol=0)


def test_a_choice_that_no_step_reaches_is_refused(pipe):
    with pytest.raises(UserError, match="no candidate would be chosen"):
        guidance = SemanticGuidance(1.0, candidates=2, select_at=0.1)
        pipe(similarity=brightness, guidance=guidance, sampler=DDPM(2, "trailing"), progress=False)


def test_seeds_of_candidates_are_the_samples_own_and_new_ones():
    seeds = candidate_seeds([5, 9], 3)
    assert seeds[0] == 5 and seeds[3] == 9 and len(set(seeds)) == 6
    assert candidate_seeds([9], 3) == seeds[3:]


def test_a_trajectory_holds_one_candidate_a_sample(pipe):
    samples = chosen(pipe, candidates=3)
    assert [len(step.x) for step in samples.trajectory] == [2] * STEPS


@pytest.mark.parametrize(
    "options, says",
    [
        ({"select_at": 0.3}, "^select_at has no effect with one candidate"),
        ({"candidates": 0}, "^candidates must be"),
        ({"candidates": 2, "select_at": 1.5}, "^select_at must be"),
    ],
)
def test_what_cannot_be_is_named(options, says):
    with pytest.raises(UserError, match=says):
        SemanticGuidance(1.0, **options)
