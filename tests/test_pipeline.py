"""The library's one door."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from sdg import Pipeline
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.samplers import DDIM, DDPM
from sdg.errors import UserError
from sdg.guidance.semantic import SemanticGuidance
from sdg.io.folder import save_folder
from sdg.models.registry import load_clip, load_clip_noisy, load_denoiser
from sdg.similarity import Term


@pytest.fixture(scope="module")
def pipe(weights) -> Pipeline:
    return Pipeline(
        load_denoiser(weights / "denoiser.safetensors"),
        load_clip_noisy(weights / "clip_noisy.safetensors"),
        load_clip(weights / "clip.safetensors"),
        gamma=5.0,
        sampler=DDPM(4),
    )


def test_a_sample_hangs_on_its_seed_and_place_alone(pipe):
    whole = pipe("a red heart", num_samples=5, seed=3, progress=False)
    parts = pipe("a red heart", num_samples=5, seed=3, batch_size=2, progress=False)
    torch.testing.assert_close(whole.tensors, parts.tensors)
    assert whole.seeds == parts.seeds and len(set(whole.seeds)) == 5
    assert whole.images[0].size == (32, 32) and whole.prompts == ["a red heart"] * 5


def test_without_guidance_the_prompt_changes_nothing(pipe):
    one = pipe("a red heart", gamma=0, progress=False).tensors
    other = pipe(gamma=0, progress=False).tensors
    guided = pipe("a red heart", progress=False).tensors
    assert torch.equal(one, other) and not torch.equal(one, guided)


def test_a_function_of_ones_own_guides(pipe):
    def brightness(x, level):
        return 50 * x.mean((1, 2, 3))

    plain, bright = (pipe(similarity=s, progress=False).tensors for s in ((), brightness))
    assert bright.mean() > plain.mean()
    both = pipe("a red heart", similarity=[brightness], progress=False).tensors
    assert not torch.equal(both, bright)


def test_pictures_of_every_kind_are_references(pipe, tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(array)
    picture.save(tmp_path / "picture.png")
    tensor = torch.from_numpy(array).permute(2, 0, 1) / 127.5 - 1
    kinds = (picture, tmp_path / "picture.png", tensor)
    a, b, c = (pipe(content=kind, style=kind, progress=False).tensors for kind in kinds)
    assert torch.equal(a, b) and torch.equal(a, c)
    assert not torch.equal(a, pipe(content=picture, progress=False).tensors)


def test_the_trajectory_ends_in_the_samples(pipe):
    out = pipe("a red heart", num_samples=3, batch_size=2, trajectory=True, progress=False)
    assert len(out.trajectory) == 4 and out.trajectory[0].x.shape == out.tensors.shape
    torch.testing.assert_close(out.trajectory[-1].x.clamp(-1, 1), out.tensors)


def test_another_sampler_and_another_guidance(pipe):
    scored = pipe("a red heart", guidance=SemanticGuidance(3.0), sampler=DDIM(3), progress=False)
    assert scored.tensors.isfinite().all()


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"num_samples": 0}, "num_samples must be"),
        ({"prompt": []}, "prompt is an empty list"),
        ({"prompt": "a red heart", "weights": {"txt": 1}}, "weights must be one of"),
        ({"content": torch.zeros(3, 8, 8)}, "a picture as a tensor must have the shape"),
        ({"prompt": "a red hart"}, "hart"),
        (
            {"prompt": "a red heart", "gamma": 1, "guidance": SemanticGuidance(1.0)},
            "gamma belongs to",
        ),
    ],
)
def test_wrong_arguments_are_named(pipe, arguments, says):
    with pytest.raises(UserError, match=says):
        pipe(**{"progress": False} | arguments)


def test_unknown_weights_are_named():
    with pytest.raises(UserError, match="did you mean 'portraits'"):
        Pipeline.from_pretrained("portrait")


def test_import_waits_for_nothing():
    code = "import sys, sdg; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_notebooks_plots_keep_their_backend():
    code = (
        "import sys, matplotlib; matplotlib.use('svg'); from sdg import Pipeline; "
        "sys.exit(matplotlib.get_backend() != 'svg')"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_denoiser_put_together_by_hand_needs_no_config(pipe):
    by_hand = Denoiser(pipe.denoiser.network, pipe.denoiser.schedule, "v", patch=2)
    assert by_hand.config is None and by_hand.resolution is None
    guided = Pipeline(by_hand, pipe.encoder, pipe.clip, gamma=5.0, sampler=DDPM(4))
    expected = pipe("a red heart", progress=False).tensors
    assert torch.equal(guided("a red heart", progress=False).tensors, expected)
    with pytest.raises(UserError, match=r"Pipeline\(…, resolution=64\)"):
        Pipeline(by_hand, sampler=DDPM(2))(progress=False)
    with pytest.raises(UserError, match="put together by hand"):
        save_folder("nowhere", "denoiser", by_hand)


def test_a_term_of_ones_own_reads_its_reference_without_an_encoder(pipe):
    class Palette(Term):
        by_reference = True

        def compare(self, x, pairs, references):
            ours, theirs = x.pixels.mean((2, 3)), references.pixels.mean((2, 3))
            return -(ours[pairs.samples] - theirs[pairs.targets]).square().sum(1)

    alone = Pipeline(pipe.denoiser, gamma=1.0, sampler=DDPM(6))
    picture = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1).expand(3, 32, 32).contiguous()
    drawn = alone(similarity={Palette(300.0): picture}, progress=False).tensors
    plain = alone(progress=False).tensors
    assert (drawn[:, 0] - drawn[:, 2]).mean() > (plain[:, 0] - plain[:, 2]).mean() + 0.1
    with pytest.raises(UserError, match="compares with a picture"):
        alone(similarity=Palette(1.0), progress=False)
