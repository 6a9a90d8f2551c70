"""What holds on a GPU: as on the CPU, but for rounding. `benchmarks/gpu.sh speed` runs these.

With TINY=1 they run on the CPU, as a rehearsal.
"""

import csv
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sdg import DDPM, Pipeline
from sdg.diffusion.noise import Noise

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "a smiling person with red hair"
STEPS = 5
DDP = "pytorch_lightning.strategies.DDPStrategy"


@pytest.fixture(scope="module")
def device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    if os.environ.get("TINY"):
        return "cpu"
    pytest.skip("there is no GPU; TINY=1 runs these tests on the CPU")


@pytest.fixture
def exact() -> Iterator[None]:
    """float32 as the CPU has it, without TensorFloat-32."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    yield
    for backend, value in zip(backends, before, strict=True):
        backend.allow_tf32 = value


def samples(pipe: Pipeline, **options) -> torch.Tensor:
    options = {"num_samples": 2, "sampler": DDPM(STEPS), "progress": False} | options
    return pipe(PROMPT, **options).tensors.cpu()


def portraits(device: str) -> Pipeline:
    return Pipeline.from_pretrained("portraits").to(device)


def test_samples_are_those_of_the_cpu_but_for_rounding(device, exact):
    ours, theirs = samples(portraits(device)), samples(portraits("cpu"))
    assert (ours - theirs).abs().max() < 0.02


def test_the_same_seed_gives_the_same_sample(device):
    pipe = portraits(device)
    assert torch.equal(samples(pipe), samples(pipe))
    assert not torch.allclose(samples(pipe), samples(pipe, seed=1), atol=0.1)


def test_no_sample_depends_on_its_batch_but_for_rounding(device, exact):
    pipe = portraits(device)
    assert (samples(pipe) - samples(pipe, batch_size=1)).abs().max() < 0.02


def test_bfloat16_stays_near_float32(device):
    """One step, in which rounding cannot grow."""
    pipe = portraits(device)
    full = samples(pipe, sampler=DDPM(1), gamma=0)
    half = samples(pipe.to(torch.bfloat16), sampler=DDPM(1), gamma=0)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().mean() < 0.02


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_networks_and_cuda_graphs_compute_the_same(device, exact, mode):
    if device == "cpu":
        mode = "default"  # graphs are CUDA's
    plain = samples(portraits(device))
    pipe = portraits(device).compile(mode=mode)
    assert (samples(pipe) - plain).abs().max() < 0.02
    assert (samples(pipe) - plain).abs().max() < 0.02  # now of the recorded graph


def test_steps_do_not_wait_for_the_gpu(device):
    """Each step more makes no synchronisation more, up to the tenth, which looks for overflow."""
    if device == "cpu":
        pytest.skip("a CPU has nothing to wait for")
    pipe = portraits(device)
    samples(pipe)
    assert waits(pipe, 4) == waits(pipe, 8)


def waits(pipe: Pipeline, steps: int) -> int:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            samples(pipe, sampler=DDPM(steps))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)


def test_noise_is_the_cpus_on_every_device(device):
    noise, same = Noise([3, 4], (3, 8, 8), device), Noise([3, 4], (3, 8, 8))
    assert torch.equal(noise().cpu(), same()) and torch.equal(noise().cpu(), same())


def settings(device: str, folder: Path) -> list[str]:
    accelerator = "gpu" if device == "cuda" else "cpu"
    return [
        *("data=portraits", "data.cache=null", "logger=none", "trainer.precision=32-true"),
        f"trainer.accelerator={accelerator}",
        f"hydra.run.dir={folder}",
    ]


def start(program: str, *words: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, program, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", *sys.path]), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_run_goes_on_and_keeps_what_it_had(device, tmp_path):
    run = tmp_path / "run"
    words = [*settings(device, run), f"prompt={PROMPT}", f"sampler.steps={STEPS}"]
    words += ["num_samples=12", "batch_size=2", "eval.imagenet=false", "eval.reading=false"]
    killed = start("sample.py", *words)
    until = time.monotonic() + 240
    while not drawn(run) and killed.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = drawn(run)
    again = start("sample.py", *words)
    said, _ = again.communicate(timeout=240)
    assert again.returncode == 0, said
    after = drawn(run)
    assert before and len(after) == 12
    assert all(after[name] == content for name, content in before.items())
    with open(run / "samples.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 12


def drawn(run: Path) -> dict[str, bytes]:
    """{name: content} of the PNGs of single samples."""
    return {file.name: file.read_bytes() for file in (run / "images").glob("*.png")}


def test_two_processes_share_one_card(device, free_port, tmp_path):
    """As two nodes of one device each, by gloo: NCCL refuses a card twice."""
    size = ["data.size=64", "data.held_out=16", "data.batch_size=8", "trainer.max_steps=2"]
    words = [
        *size,
        *("denoiser.network.block_out_channels=[32,32]", "trainer.num_nodes=2"),
        *("denoiser.network.down_block_types=[DownBlock2D,DownBlock2D]",),
        *("denoiser.network.up_block_types=[UpBlock2D,UpBlock2D]",),
        f"trainer.strategy={{_target_:{DDP},process_group_backend:gloo}}",
    ]
    nodes = [
        start(
            "train.py",
            *settings(device, tmp_path / "run"),
            *words,
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(free_port),
            NODE_RANK=str(rank),
        )
        for rank in range(2)
    ]
    said = [node.communicate(timeout=240)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert (tmp_path / "run" / "denoiser" / "config.json").is_file()
