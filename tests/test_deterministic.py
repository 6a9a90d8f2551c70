"""`deterministic`: batch size, prefix, threads and processes change no bit of a sample."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sdg import Pipeline
from sdg.diffusion.samplers import DDPM
from sdg.guidance import DPS, SemanticGuidance
from sdg.models.registry import load_clip, load_clip_noisy, load_denoiser

ROOT = Path(__file__).parents[1]
PROMPTS = ["a red heart", "a blue ring | a green star:-0.5"]
GUIDANCE = {"sdg": SemanticGuidance(5.0), "dps": DPS(2.0)}


class Rounded(torch.nn.Module):
    """A network whose rounding depends on batch size and threads as plainly as can be."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, t):
        out = self.network(x, t)
        return getattr(out, "sample", out) + 1e-3 * (len(x) + torch.get_num_threads())


@pytest.fixture(scope="module")
def pipe(weights) -> Pipeline:
    denoiser = load_denoiser(weights / "denoiser.safetensors")
    denoiser.network = Rounded(denoiser.network)
    clip = load_clip(weights / "clip.safetensors")
    noisy = load_clip_noisy(weights / "clip_noisy.safetensors")
    return Pipeline(denoiser, noisy, clip, sampler=DDPM(3))


@pytest.mark.parametrize("method", ["sdg", pytest.param("dps", marks=pytest.mark.slow)])
def test_batch_size_prefix_and_threads_change_no_bit(pipe, method):
    before = torch.get_num_threads()

    def drawn(batch_size, num_samples=8, threads=1, deterministic=True):
        torch.set_num_threads(threads)
        try:
            return pipe(
                PROMPTS,
                guidance=GUIDANCE[method],
                num_samples=num_samples,
                batch_size=batch_size,
                deterministic=deterministic,
                progress=False,
            ).tensors
        finally:
            assert torch.get_num_threads() == threads  # they come back
            torch.set_num_threads(before)

    whole = drawn(16)
    assert whole.shape[0] == 16
    for other in (drawn(1), drawn(5), drawn(16, threads=2)):
        assert torch.equal(whole, other)
    assert torch.equal(whole[:5], drawn(16, num_samples=5)[:5])  # of the first prompt
    assert not torch.equal(whole, drawn(16, deterministic=False))  # which is not promised


def test_sentences_are_encoded_one_at_a_time(pipe, monkeypatch):
    counts = []
    encode = pipe.clip.encode_text
    monkeypatch.setattr(
        pipe.clip,
        "encode_text",
        lambda sentences: counts.append(len(sentences)) or encode(sentences),
    )
    pipe(PROMPTS, deterministic=True, progress=False)
    assert counts and set(counts) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("guidance", ["sdg", "dps"])
def test_processes_and_batches_write_the_same_bytes(tiny, tmp_path, guidance):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red heart\na blue ring\n")

    def drawn(name, *words):
        folder = tmp_path / name
        clean = guidance == "dps"  # which asks a clean encoder
        own = [word for word in tiny[:-1] if not (clean and word.startswith("encoder.weights"))]
        command = [sys.executable, "sample.py", *own, "data=shapes", f"guidance={guidance}"]
        command += [f"prompts={prompts}", "deterministic=true", "guidance.gamma=5"]
        command += [f"hydra.run.dir={folder}", *words]
        if clean:
            command += ["encoder=clip"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr[-2000:]
        return [file.read_bytes() for file in sorted((folder / "images").glob("*.png"))]

    whole = drawn("one", "num_samples=16", "batch_size=16")
    assert len(whole) == 16
    assert drawn("five", "num_samples=16", "batch_size=5") == whole
    assert drawn("two", "num_samples=16", "trainer=ddp_cpu") == whole
    prefix = drawn("prefix", "samples_per_prompt=3")
    assert prefix[:3] == whole[:3] and len(prefix) == 6
