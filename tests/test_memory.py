"""A batch that memory does not hold is drawn in smaller parts."""

import json

import pytest
import torch

from sdg import UserError
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.samplers import DDPM
from sdg.models.registry import load_clip, load_clip_noisy, load_denoiser
from sdg.pipeline import Pipeline

CPU = "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."


@pytest.fixture(params=[torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(CPU)])
def at_most(request, monkeypatch):
    """Makes every denoiser fail above so many rows; gives the numbers of rows that it was given."""

    def limit(rows: int) -> list[int]:
        forward, given = Denoiser.forward, []

        def limited(self, x, *args, **options):
            given.append(len(x))
            if len(x) > rows:
                raise request.param
            return forward(self, x, *args, **options)

        monkeypatch.setattr(Denoiser, "forward", limited)
        return given

    return limit


@pytest.fixture
def pipe(weights) -> Pipeline:
    networks = load_clip_noisy, load_clip
    encoder, clip = (
        load(weights / f"{name}.safetensors")
        for load, name in zip(networks, ("clip_noisy", "clip"), strict=True)
    )
    return Pipeline(
        load_denoiser(weights / "denoiser.safetensors"), encoder, clip, sampler=DDPM(3)
    )


def test_the_pipeline_halves_its_batch_and_draws_the_same(pipe, at_most, capsys):
    whole = pipe("a red heart", num_samples=7, trajectory=True, progress=False)
    given = at_most(2)
    parts = pipe("a red heart", num_samples=7, trajectory=True, progress=False)
    torch.testing.assert_close(whole.tensors, parts.tensors)
    assert whole.seeds == parts.seeds and len(whole.trajectory) == len(parts.trajectory)
    assert [rows for rows in given if rows > 2] == [7, 3]
    told = capsys.readouterr().err.splitlines()
    assert [line.split(";")[1] for line in told] == [" going on with 3.", " going on with 1."]


def test_one_sample_that_is_too_much_is_said(pipe, at_most):
    at_most(0)
    with pytest.raises(UserError, match="not enough memory for one sample"):
        pipe("a red heart", num_samples=2, progress=False)


def test_any_other_error_of_a_network_is_none_of_memory(pipe, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Denoiser, "forward", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        pipe("a red heart", num_samples=2, progress=False)


def test_a_run_halves_its_batches_and_draws_the_same(run, quick, tmp_path, at_most, capsys):
    run("sample.py", *quick, f"hydra.run.dir={tmp_path}/whole")
    at_most(2)
    run("sample.py", *quick, f"hydra.run.dir={tmp_path}/parts", "trajectory=1")
    assert "memory is short for 4 samples at once; going on with 2." in capsys.readouterr().err
    cosine = [
        json.loads((tmp_path / name / "metrics.json").read_text())["similarity"]
        for name in ("whole", "parts")
    ]
    assert cosine[0] == pytest.approx(cosine[1], abs=1e-4)
    assert len(list((tmp_path / "parts" / "images").glob("*.png"))) == 4
    assert (tmp_path / "parts" / "trajectory.gif").is_file()
