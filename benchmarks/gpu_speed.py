"""Guided sampling and training on a GPU: images a second, the loop's share, memory.

    python benchmarks/gpu_speed.py FOLDER [--seconds 300] [--tiny]

`benchmarks/gpu.sh speed` runs it. Networks are untrained, but for the portraits': speed does not
depend on weights. A layout that the card cannot hold and what no time is left for stay out of the
table. It is written to FOLDER/speed.md and FOLDER/speed.json after every row.

    portraits    the shipped pipeline, 64 × 64
    ADM-64       guided-diffusion's ImageNet 64 without classes, with a noise-aware RN50x16
    ADM-256      guided-diffusion's LSUN 256, with a noise-aware RN50x16

A step is a guided one of DDPM in batches: the denoiser, and the encoder's gradient. "outside" is
the share of it that the two networks alone, called with the same tensors, do not take. "authors"
is the same step in the loop of the paper's authors, with the same networks.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from sdg import DDPM, Pipeline  # noqa: E402
from sdg.diffusion.denoiser import Denoiser  # noqa: E402
from sdg.io.adm import Layout, network_of  # noqa: E402
from sdg.models.build import build_denoiser  # noqa: E402
from sdg.models.clip import CLIP  # noqa: E402
from sdg.models.noise_aware import NoiseAwareEncoder  # noqa: E402
from sdg.models.published_clips import open_clip_model  # noqa: E402
from sdg.models.towers import at_resolution  # noqa: E402

SCHEDULE = {"kind": "linear", "T": 1000}
ADM_64 = Layout(192, (192, 384, 576, 768), 3, (1, 2, 3), True, True, True, None)
ADM_256 = Layout(256, (256, 256, 512, 512, 1024, 1024), 2, (3, 4, 5), True, True, True, None)
TINY = Layout(32, (32, 64), 1, (1,), True, True, True, None)
COLUMNS = ("layout", "what", "precision", "mode", "batch", "images/s", "outside", "GiB")
MODES = {"plain": None, "compiled": "default", "graphs": "reduce-overhead"}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Row(NamedTuple):
    """What is measured."""

    layout: str
    what: str  # a guided step, that of the authors' loop, or one of training
    precision: str
    mode: str
    batch: int


def rows(tiny: bool) -> Iterator[Row]:
    """What to measure, what matters most first."""
    if tiny:
        yield Row("tiny", "guided", "fp32", "plain", 2)
        yield Row("tiny", "authors", "fp32", "plain", 2)
        yield Row("portraits", "guided", "bf16", "plain", 2)
        yield Row("tiny", "training", "fp32", "plain", 2)
        return
    yield from plain("portraits", (1, 16, 64, 256))
    yield from (Row("portraits", "guided", "bf16", "graphs", batch) for batch in (1, 64))
    yield from plain("ADM-64", (1, 16, 64))
    yield Row("ADM-64", "authors", "fp32", "plain", 16)
    for precision in ("fp32", "bf16"):
        yield from (Row("ADM-256", "guided", precision, "plain", batch) for batch in (1, 16))
    yield Row("ADM-256", "authors", "fp32", "plain", 16)
    yield Row("ADM-64", "guided", "bf16", "graphs", 16)
    yield Row("portraits", "training", "bf16", "compiled", 256)
    yield Row("ADM-64", "guided", "bf16", "compiled", 64)
    yield Row("ADM-256", "guided", "bf16", "graphs", 1)
    yield Row("ADM-256", "guided", "bf16", "plain", 64)


def plain(layout: str, batches: tuple[int, ...]) -> Iterator[Row]:
    for precision in ("fp32", "bf16"):
        yield from (Row(layout, "guided", precision, "plain", batch) for batch in batches)
        yield Row(layout, "training", precision, "plain", batches[-1])


def pipeline_of(layout: str) -> Pipeline:
    if layout == "portraits":
        return Pipeline.from_pretrained("portraits")
    torch.manual_seed(0)
    shape, side = {"ADM-64": (ADM_64, 64), "ADM-256": (ADM_256, 256), "tiny": (TINY, 32)}[layout]
    with torch.device(DEVICE):  # fills them with random numbers sooner than a CPU
        network = network_of(shape, 64 if layout != "tiny" else 32)
        clip = CLIP(open_clip_model("RN50x16" if layout != "tiny" else "RN50", {}))
        model, tower = at_resolution(clip.config["model"], clip.tower, side)
    options = {"prediction": "epsilon", "variance": "learned_range", "network": network}
    encoder = NoiseAwareEncoder(tower, {**clip.config, "model": model}, SCHEDULE)
    return Pipeline(build_denoiser(options, SCHEDULE, side), encoder, resolution=side)


def guided(pipe: Pipeline, batch: int, seconds: float) -> dict[str, float]:
    """Images a second of one step; the share of it outside both networks; memory."""
    picture = torch.rand(pipe.shape) * 2 - 1
    options = {"content": picture, "num_samples": batch, "batch_size": batch, "gamma": 1e-3}

    def run(steps: int) -> None:
        pipe(**options, sampler=DDPM(steps), progress=False)

    few, many = 2, 12
    run(few)  # compiles, and chooses kernels
    reset_memory()
    # What a run does once, such as reading the reference, is in both.
    step = (best(lambda: run(many), seconds) - best(lambda: run(few), seconds / 4)) / (many - few)
    memory = peak_memory()
    x = torch.randn(batch, *pipe.shape, device=DEVICE)
    networks = best(lambda: call_networks(pipe, x), seconds / 4)
    return {"images/s": batch / step, "outside": 1 - networks / step, "GiB": memory}


def call_networks(pipe: Pipeline, x: torch.Tensor) -> None:
    """The denoiser once, and the encoder's gradient, with nothing around them."""
    t = torch.full((len(x),), 500, device=DEVICE)
    level = torch.full((1,), 500, device=DEVICE).expand(len(x))
    mixed = pipe.dtype != torch.float32
    with torch.autocast(DEVICE, pipe.dtype) if mixed else nullcontext():
        with torch.no_grad():
            pipe.denoiser.network(F.pixel_unshuffle(x, pipe.denoiser.patch), t)
        leaf = x.clone().requires_grad_()
        value = pipe.encoder.encode(leaf, level).z.float().sum()
    torch.autograd.grad(value, leaf)


def authors(pipe: Pipeline, batch: int, seconds: float) -> dict[str, float]:
    """Images a second of a step of the authors' loop, written out from guided-diffusion; memory.

    Its encoder's parameters ask for gradients while an image is moved, as theirs do.
    """
    schedule, encoder = pipe.denoiser.schedule, pipe.encoder
    encoder.requires_grad_(True)
    x = torch.randn(batch, *pipe.shape, device=DEVICE)
    t = torch.full((batch,), 500, device=DEVICE)
    with torch.no_grad():
        target = encoder(x[:1], t[:1])
    sigma = float(schedule.posterior_variance(500, 499, DEVICE)) ** 0.5

    def step() -> None:
        with torch.no_grad():
            mean = x + sigma * pipe.denoiser.network(x, t)[0][:, :3]
        leaf = mean.requires_grad_()
        similarity = torch.cosine_similarity(encoder(leaf, t), target).sum()
        gradient = torch.autograd.grad(similarity, leaf)[0]
        mean.detach() + sigma**2 * gradient + sigma * torch.randn_like(x)

    step()
    reset_memory()
    return {"images/s": batch / best(step, seconds), "GiB": peak_memory()}


def training(denoiser: Denoiser, shape: tuple, dtype, batch: int, seconds: float) -> dict:
    """Images a second of a step of the denoiser's training; memory."""
    denoiser.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(denoiser.parameters(), 1e-4, fused=True)
    x0 = torch.rand(batch, *shape, device=DEVICE) * 2 - 1
    t = torch.randint(denoiser.schedule.T, (batch,), device=DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE, dtype) if dtype != torch.float32 else nullcontext():
            loss = denoiser.loss(x0, t, torch.randn_like(x0)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step()
    reset_memory()
    return {"images/s": batch / best(step, seconds), "GiB": peak_memory()}


def best(call: Callable[[], object], seconds: float) -> float:
    """The median time of a call, in seconds, of at least three."""
    times: list[float] = []
    end = time.monotonic() + seconds
    while len(times) < 3 or time.monotonic() < end:
        began = time.monotonic()
        call()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        times.append(time.monotonic() - began)
    return sorted(times)[len(times) // 2]


def reset_memory() -> None:
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if DEVICE == "cuda" else float("nan")


def measured(row: Row, seconds: float) -> dict[str, float]:
    pipe = pipeline_of(row.layout).to(DEVICE)
    dtype = torch.bfloat16 if row.precision == "bf16" else torch.float32
    pipe.to(dtype)
    if mode := MODES[row.mode]:
        pipe.compile(mode=mode)
    if row.what == "training":
        return training(pipe.denoiser, pipe.shape, dtype, row.batch, seconds)
    way = authors if row.what == "authors" else guided
    return way(pipe, row.batch, seconds)


def attempt(row: Row, seconds: float) -> dict[str, float] | str:
    """A row's figures, or why there are none."""
    try:
        return measured(row, seconds)
    except torch.OutOfMemoryError:
        return "out of memory"
    except Exception as error:  # the other rows are worth having
        return f"{type(error).__name__}: {error}".splitlines()[0][:60]
    finally:
        torch.compiler.reset()
        gc.collect()
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


def table(found: list[tuple[Row, dict | str]]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for row, figures in found:
        if isinstance(figures, str):
            cells = [figures, "", ""]
        else:
            outside = figures.get("outside")
            cells = [
                f"{figures['images/s']:.4g}",
                "" if outside is None else f"{outside:.3f}",
                f"{figures['GiB']:.2f}",
            ]
        lines.append(f"| {' | '.join([*map(str, row), *cells])} |")
    return "\n".join(lines) + "\n"


def write(folder: Path, title: str, found: list[tuple[Row, dict | str]]) -> None:
    (folder / "speed.md").write_text(f"{title}\n\n{table(found)}", encoding="utf-8")
    records = [{**row._asdict(), "figures": figures} for row, figures in found]
    text = json.dumps({"on": title, "rows": records}, indent=2)
    (folder / "speed.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=300, help="after which no row begins")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal, on any machine")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_float32_matmul_precision("high")
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU"
    title = f"{name}, torch {torch.__version__}; float32 products in TF32"
    print(title, flush=True)
    found: list[tuple[Row, dict | str]] = []
    begun = time.monotonic()
    for row in rows(options.tiny):
        if time.monotonic() - begun > options.seconds:
            print(f"stopped after {len(found)} rows: {options.seconds:g} seconds are over")
            break
        found.append((row, attempt(row, 0.2 if options.tiny else 0.7)))
        print(table(found[-1:]).splitlines()[-1], flush=True)
        write(options.folder, title, found)
    print(f"results: {options.folder / 'speed.md'}, {options.folder / 'speed.json'}")


if __name__ == "__main__":
    main()
