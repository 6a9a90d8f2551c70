"""A batch that memory does not hold is drawn in smaller parts."""

import json

import pytest
import torch

from sdg import UserError
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.samplers import DDPM
from sdg.guidance.semantic import SemanticGuidance
from sdg.guidance.training_free import LGD
from sdg.machine.ram import available_memory
from sdg.models.registry import load_clip, load_clip_noisy, load_denoiser
from sdg.pipeline import Pipeline
from sdg.pipeline.memory import fitting_batch, graph_bytes

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
    return Pipeline(load_denoiser(weights / "denoiser.safetensors"), encoder, clip, sampler=DDPM(3))


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


def test_auto_takes_what_is_free_and_draws_the_same(pipe, monkeypatch, at_most):
    encode = pipe.encoder.encode
    one = graph_bytes(lambda x: pipe.denoiser(x, 0).x0, torch.zeros(1, 3, 32, 32))
    levels = torch.zeros(2, dtype=torch.long)
    one += graph_bytes(lambda x: encode(x, levels[: len(x)]).z, torch.zeros(1, 3, 32, 32))
    whole = pipe("a red heart", num_samples=5, progress=False)
    monkeypatch.setattr("sdg.pipeline.memory.available_memory", lambda: 2 * 3 * one)
    given = at_most(10)
    parts = pipe("a red heart", num_samples=5, batch_size="auto", progress=False)
    torch.testing.assert_close(whole.tensors, parts.tensors)
    assert set(given[-6:]) == {3, 2}


def test_auto_takes_no_more_than_64_on_a_cpu(pipe, monkeypatch):
    monkeypatch.setattr("sdg.pipeline.memory.available_memory", lambda: 1 << 50)
    cpu = torch.device("cpu")
    assert fitting_batch(pipe.denoiser, pipe.encoder, (3, 32, 32), cpu) == 64
    monkeypatch.setattr("sdg.pipeline.memory.available_memory", lambda: 0)
    assert fitting_batch(pipe.denoiser, pipe.encoder, (3, 32, 32), cpu) == 1


def test_auto_counts_candidates_and_draws(pipe, monkeypatch):
    def fits(guidance=None):
        size, cpu = (3, 32, 32), torch.device("cpu")
        return fitting_batch(pipe.denoiser, pipe.encoder, size, cpu, None, guidance)

    monkeypatch.setattr("sdg.pipeline.memory.available_memory", lambda: 1 << 27)
    plain = fits()
    assert 8 < plain < 64
    assert fits(SemanticGuidance(candidates=4)) == plain // 4
    assert fits(LGD(draws=8)) < fits(LGD(draws=2)) < plain


def test_the_bytes_of_a_graph_are_those_of_what_it_keeps():
    first, second = torch.nn.Linear(10, 20), torch.nn.Linear(20, 30)

    def network(x: torch.Tensor) -> torch.Tensor:
        return second(first(x.flatten(1)).exp())

    # x for the first layer's weight; exp's output, which is also the input of the second.
    assert graph_bytes(network, torch.zeros(1, 10)) == 4 * (10 + 20)


@pytest.mark.slow
def test_a_run_of_auto_goes_on_with_its_number(run, quick, tmp_path, monkeypatch, capsys):
    words = [*quick, f"hydra.run.dir={tmp_path}/run", "batch_size=auto"]
    monkeypatch.setattr("sdg.app.sample.fitting_batch", lambda *_: 2)
    run("sample.py", *words)
    starts = sorted(file.name for file in (tmp_path / "run" / "rows").glob("*.jsonl"))
    assert starts == ["00000.jsonl", "00002.jsonl"]
    (tmp_path / "run" / "rows" / "00002.jsonl").unlink()
    monkeypatch.setattr("sdg.app.sample.fitting_batch", lambda *_: 4)
    run("sample.py", *words, "eval.bootstrap=10")
    assert "1 of 2 batches are drawn already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, 8000 * 1024),
        ({"sys/fs/cgroup/memory.max": "max\n"}, 8000 * 1024),
        (
            {"sys/fs/cgroup/memory.max": "5000000\n", "sys/fs/cgroup/memory.current": "2000000\n"},
            3_000_000,
        ),
    ],
)
def test_free_memory_is_the_machines_or_the_groups(tmp_path, files, left):
    system = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:  8000 kB\n"}
    for name, text in ({"proc/self/cgroup": "0::/\n"} | system | files).items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert available_memory(tmp_path) == left
    assert available_memory(tmp_path / "none") is None
