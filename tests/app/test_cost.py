"""What a sample would cost is said before a run begins; what nobody waits for is refused."""

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from sdg.app.cost import CALLS_PER_STEP, calls, cost_note
from sdg.diffusion.samplers import DDPM, Heun
from sdg.guidance import LGD, TFG, SemanticGuidance
from sdg.io.shipped import CONF


def config(steps=10, sampler="DDPM", **guidance):
    return OmegaConf.create(
        {
            "denoiser": {},
            "guidance": {"gamma": 1.0} | guidance,
            "sampler": {"_target_": f"sdg.diffusion.samplers.{sampler}", "steps": steps},
            "preset": {"steps": 100},
            "batch_size": 64,
        }
    )


METHODS = {
    "ordinary": (SemanticGuidance, {}),
    "recurrence": (SemanticGuidance, {"recurrence": 3}),
    "draws": (LGD, {"draws": 4}),
    "all": (TFG, {"mu": 0.5, "iterations": 2, "smoothing": 0.1, "draws": 3, "recurrence": 2}),
}


def calls_made(weights, sampler, guidance):
    """How often a sample calls the denoiser and the similarity."""
    from sdg import Pipeline
    from sdg.models.registry import load_denoiser

    pipe = Pipeline(load_denoiser(weights / "denoiser.safetensors"))
    made = {"denoiser": 0, "similarity": 0}

    def count(kind):
        made[kind] += 1

    pipe.denoiser.network.register_forward_hook(lambda *_: count("denoiser"))

    def similarity(x, level):
        count("similarity")
        return x.mean((1, 2, 3))

    pipe(similarity=similarity, guidance=guidance, sampler=sampler, progress=False)
    return made


@pytest.mark.parametrize("name", METHODS)
def test_the_count_is_a_bound_of_the_calls_that_are_made(name, weights):
    method, options = METHODS[name]
    made = calls_made(weights, DDPM(10), method(1.0, **options))
    denoiser, similarities = calls(config(**options))
    # The last step is neither guided nor repeated.
    repeated = options.get("recurrence", 1)
    assert made["denoiser"] == denoiser - (repeated - 1)
    assert made["similarity"] == similarities * 9 // 10


@pytest.mark.parametrize("recurrence", [1, 3])
def test_heuns_second_calls_are_counted(weights, recurrence):
    guidance = SemanticGuidance(1.0, recurrence=recurrence)
    made = calls_made(weights, Heun(10, "linspace"), guidance)
    denoiser, similarities = calls(config(sampler="Heun", recurrence=recurrence))
    # Of 10 steps the last one makes one call, and is neither guided nor repeated.
    assert denoiser == similarities == 19 * recurrence
    assert made == {"denoiser": 18 * recurrence + 1, "similarity": 18 * recurrence}


@pytest.mark.parametrize("file", sorted((CONF / "sampler").glob("*.yaml")), ids=lambda f: f.stem)
def test_calls_a_step_are_those_that_the_sampler_makes(weights, file):
    target = OmegaConf.load(file)._target_
    made = calls_made(weights, get_class(target)(10, "linspace"), SemanticGuidance(1.0))
    assert made["denoiser"] == 9 * CALLS_PER_STEP.get(target, 1) + 1


def test_a_costly_run_is_said_in_words_and_an_ordinary_one_is_not():
    assert cost_note(config()) == cost_note(config(steps=100)) == []
    (note,) = cost_note(config(steps=100, recurrence=20))
    assert "2,000 calls of the denoiser" in note and "about 20 times an ordinary run" in note
    (note,) = cost_note(config(steps=100, candidates=10))
    assert "A batch holds 640 images" in note
    assert cost_note(config(steps=100, recurrence=20, gamma=0)) == []


@pytest.mark.parametrize(
    "word",
    [
        "guidance.recurrence=1000000",
        "guidance.candidates=1000000000",
        "guidance=lgd guidance.draws=1000000000",
        "guidance=tfg guidance.mu=1 guidance.iterations=1000000",
    ],
)
def test_what_nobody_waits_for_is_refused_in_one_line(refusal, tiny, word):
    own = [each for each in tiny if not each.startswith("encoder.")]  # dps and others take another
    line = refusal("sample.py", *own, *word.split())
    assert word.split()[-1] in line and "more than the 1,000,000" in line


@pytest.mark.parametrize(
    "scales, times",
    [
        ({"guidance_scale": None, "autoguidance_scale": None}, 1),
        ({"guidance_scale": 1}, 1),
        ({"guidance_scale": 2.0}, 2),
        ({"guidance_scale": 2.0, "autoguidance_scale": 1.5}, 3),
    ],
)
def test_each_pass_of_a_guided_denoiser_is_counted_before_a_run(scales, times):
    asked = config()
    asked.denoiser = scales
    assert calls(asked) == (10 * times, 10)
