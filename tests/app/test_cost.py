"""What a sample would cost is said before a run begins; what nobody waits for is refused."""

import pytest
from omegaconf import OmegaConf

from sdg.app.cost import calls, cost_note
from sdg.diffusion.samplers import DDPM
from sdg.guidance import LGD, TFG, SemanticGuidance


def config(steps=10, **guidance):
    return OmegaConf.create(
        {
            "denoiser": {},
            "guidance": {"gamma": 1.0} | guidance,
            "sampler": {"steps": steps},
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


@pytest.mark.parametrize("name", METHODS)
def test_the_count_is_a_bound_of_the_calls_that_are_made(name, weights):
    from sdg import Pipeline
    from sdg.models.registry import load_denoiser

    method, options = METHODS[name]
    pipe = Pipeline(load_denoiser(weights / "denoiser.safetensors"))
    made = {"denoiser": 0, "similarity": 0}

    def count(kind):
        made[kind] += 1

    pipe.denoiser.network.register_forward_hook(lambda *_: count("denoiser"))

    def similarity(x, level):
        count("similarity")
        return x.mean((1, 2, 3))

    pipe(
        similarity=similarity,
        guidance=method(1.0, **options),
        sampler=DDPM(10),
        progress=False,
    )
    denoiser, similarities = calls(config(**options))
    # The last step is neither guided nor repeated.
    repeated = options.get("recurrence", 1)
    assert made["denoiser"] == denoiser - (repeated - 1)
    assert made["similarity"] == similarities * 9 // 10


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
