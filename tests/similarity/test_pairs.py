"""Every similarity with every way of steering, on the shipped weights.

They are two axes, and any pair of them works.
"""

from pathlib import Path

import pytest
import torch

from sdg.data.captions import FACTORS, zero_shot_caption
from sdg.data.prompts import parse_weighted_prompt
from sdg.diffusion.noise import Noise
from sdg.diffusion.samplers import DDIM, DDPM, DPMSolver
from sdg.diffusion.sampling import sample
from sdg.guidance.guidance import gradient
from sdg.guidance.semantic import SemanticGuidance
from sdg.guidance.training_free import DPS, LGD, MPGD, TFG, FreeDoM, Universal
from sdg.models.registry import load_clip, load_clip_noisy, load_denoiser
from sdg.similarity import Class, Content, Similarity, Structure, Style, Text, matched_levels
from sdg.similarity.references import References

KINDS = ("text", "content", "structure", "style", "class")
METHODS = {
    "sdg": SemanticGuidance,
    "dps": DPS,
    "lgd": LGD,
    "freedom": FreeDoM,
    "universal": Universal,
    "mpgd": MPGD,
    "tfg": TFG,
}
SEVERAL = ("lgd", "universal", "tfg")  # passes a step
CONDITIONS = {
    "text": ["a red ring", "a blue star | a ring:-0.5"],
    "class": ["ring", "red"],
    "content": ["a", "b"],
    "structure": ["b", "b"],
    "style": ["a", "b"],
}
SEEDS = [3, 4]


@pytest.fixture(scope="module")
def parts():
    weights = Path(__file__).resolve().parents[2] / "weights" / "shapes"
    denoiser, clip, noisy = (
        load(weights / f"{name}.safetensors")
        for load, name in (
            (load_denoiser, "denoiser"),
            (load_clip, "clip"),
            (load_clip_noisy, "clip_noisy"),
        )
    )
    drawn = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = dict(zip("ab", drawn, strict=True))

    def similarity(kinds, encoder=noisy, rows=(0, 1)):
        conditions, classes = {}, {}
        for kind in kinds:
            conditions[kind] = [parse_weighted_prompt(CONDITIONS[kind][row]) for row in rows]
        for name, values in FACTORS.items():
            classes[name] = {value: zero_shot_caption(name, value) for value in values}
        terms = {
            "text": lambda: Text(
                encoder,
                clip,
                [sentence for condition in conditions["text"] for sentence, _ in condition],
            ),
            "content": lambda: Content(encoder),
            "structure": lambda: Structure(50.0, ["layer2"], "squared"),
            "style": lambda: Style(2.0, ["act1"], "log", "energies"),
            "class": lambda: Class(encoder, clip, classes),
        }
        levels = matched_levels(denoiser.schedule, encoder.config.get("schedule"))
        return Similarity(
            encoder,
            {kind: terms[kind]() for kind in kinds},
            levels,
            References(images, denoiser.schedule, 0),
        ).condition(conditions)

    return denoiser, clip, noisy, similarity


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SEVERAL else name for name in METHODS],
)
def test_every_pair_moves_a_step_and_none_depends_on_its_batch(parts, name, kind):
    denoiser, clip, noisy, similarity = parts
    encoder, method = (
        noisy if name == "sdg" else clip,
        METHODS[name](**{"gamma": 0.3 if name == "freedom" else 3.0}),
    )
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def stepped(sampler, rows, method=method):
        guide = (
            method.prepare(similarity([kind], encoder, rows), denoiser.schedule, sampler)
            if method
            else None
        )
        return sampler.step(
            denoiser,
            x[list(rows)],
            600,
            580,
            Noise([SEEDS[row] for row in rows], (3, 32, 32)),
            guide,
        ).x

    for sampler in (DDPM(4), DDIM(4), DPMSolver(4)):
        together = stepped(sampler, (0, 1))
        assert ((together - stepped(sampler, (0, 1), None)).abs().flatten(1).amax(1) > 1e-4).all()
        torch.testing.assert_close(
            torch.cat([stepped(sampler, (row,)) for row in (0, 1)]), together, rtol=0, atol=1e-5
        )


@pytest.mark.parametrize(
    "sampler, gamma", [(DDPM(20), 30.0), pytest.param(DDIM(20), 10.0, marks=pytest.mark.slow)]
)
def test_images_do_not_depend_on_the_batch(parts, sampler, gamma):
    # Methods that go back through the denoiser amplify rounding on so coarse a grid: 3e-3 was seen
    # in single pixels.
    denoiser, _, noisy, similarity = parts

    def images(rows):
        guide = SemanticGuidance(gamma).prepare(
            similarity(["text"], noisy, rows), denoiser.schedule, sampler
        )
        return sample(denoiser, sampler, Noise([SEEDS[row] for row in rows], (3, 32, 32)), guide)

    torch.testing.assert_close(
        torch.cat([images([row]) for row in (0, 1)]), images([0, 1]), rtol=0, atol=1e-4
    )


def test_the_gradient_of_a_sum_is_the_sum_of_the_gradients(parts):
    *_, similarity = parts
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    whole = gradient(lambda x: similarity(KINDS)(x, 500), x)
    each = [gradient(lambda x, kind=kind: similarity([kind])(x, 500), x) for kind in KINDS]
    assert all(part.abs().max() > 0 for part in each)
    torch.testing.assert_close(whole, sum(each), rtol=1e-4, atol=1e-6)
