"""The memory that a guided step and a step of fine-tuning take, here and in the authors' way.

    python benchmarks/memory.py [--batch 4] [--only sampling,training]

sampling    the authors' loop, written out from guided-diffusion, in float32: the encoder's
            parameters ask for gradients while an image is moved, so that the graph keeps what only
            they would need. Ours is `Pipeline` in the precision that `auto` chooses on this CPU
training    a step of the fine-tuning written out, in float32; then under autocast, as
            `trainer.precision=bf16-mixed` has it; then with `encoder.checkpointing=true` too

A noise-aware RN50x16 without trained weights at 256 × 256, beside a small ADM; each in a process of
its own. What counts is the peak of the process's memory beyond what it holds after a step of one
image.
Linux only. About two minutes.
"""

import argparse
import gc
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIDE, SCHEDULE = 256, {"kind": "linear", "T": 1000}
TARGET = 0.6


def status(key: str) -> int:
    """A number of /proc/self/status, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise SystemExit("error: /proc/self/status says nothing of memory; this needs Linux.")


def peak(step: Callable[[int], object], batch: int) -> float:
    """GiB that a step of a batch takes at most, beyond what is held after one of a single image."""
    step(1)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of before
    before = status("VmRSS")
    step(batch)
    return (status("VmHWM") - before) / 2**20


def encoder_of():
    from sdg.models.clip import CLIP
    from sdg.models.noise_aware import NoiseAwareEncoder
    from sdg.models.published_clips import open_clip_model
    from sdg.models.towers import at_resolution

    clip = CLIP(open_clip_model("RN50x16", {}))
    model, tower = at_resolution(clip.config["model"], clip.tower, SIDE)
    return clip, NoiseAwareEncoder(tower, {**clip.config, "model": model}, SCHEDULE)


def denoiser_of():
    from sdg.io.adm import Layout, network_of
    from sdg.models.build import build_denoiser

    layout = Layout(64, (64, 64, 128, 128, 192), 1, (4,), True, True, True, None)
    options = {
        "prediction": "epsilon",
        "variance": "learned_range",
        "network": network_of(layout, 64),
    }
    return build_denoiser(options, SCHEDULE, SIDE)


def sampling_ours(batch: int) -> float:
    import torch

    from sdg import DDPM, Pipeline
    from sdg.app.precision import has_bfloat16

    pipe = Pipeline(denoiser_of(), encoder_of()[1], resolution=SIDE)
    pipe.to(torch.bfloat16 if has_bfloat16("cpu") else torch.float32)
    picture = torch.rand(pipe.shape) * 2 - 1
    run = {"content": picture, "gamma": 1e-3, "progress": False}
    return peak(lambda size: pipe(**run, num_samples=size, sampler=DDPM(2)), batch)


def sampling_authors(batch: int) -> float:
    import torch

    denoiser, (_, encoder) = denoiser_of(), encoder_of()
    encoder.eval().requires_grad_(True)
    picture = torch.rand(1, 3, SIDE, SIDE)

    def step(size: int) -> None:
        x = torch.randn(size, 3, SIDE, SIDE)
        with torch.no_grad():
            target = encoder(picture, torch.zeros(1))
        for level in (999, 0):
            t = torch.full((size,), level)
            with torch.no_grad():
                denoiser.network(x, t)
            leaf = x.detach().requires_grad_(True)
            similarity = torch.cosine_similarity(encoder(leaf, t), target).sum()
            torch.autograd.grad(similarity, leaf)

    return peak(step, batch)


def training(batch: int, checkpointing: bool, mixed: bool) -> float:
    import torch

    clip, encoder = encoder_of()
    clip.eval().requires_grad_(False)
    encoder.train().checkpointing = checkpointing
    optimizer = torch.optim.AdamW(encoder.parameters(), fused=True)

    def step(size: int) -> None:
        images = torch.rand(size, 3, SIDE, SIDE) * 2 - 1
        t = torch.randint(1000, (size,))
        with torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext():
            with torch.no_grad():
                clean = clip.encode_image(images)
            z = encoder(images + torch.randn_like(images), t)
            loss = 1 - torch.cosine_similarity(z, clean).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return peak(step, batch)


def training_authors(batch: int) -> float:
    return training(batch, checkpointing=False, mixed=False)


def training_ours(batch: int) -> float:
    return training(batch, checkpointing=False, mixed=True)


def training_checkpointed(batch: int) -> float:
    return training(batch, checkpointing=True, mixed=True)


MEASURES = {
    "sampling": {"authors": sampling_authors, "ours": sampling_ours},
    "training": {
        "authors": training_authors,
        "ours": training_ours,
        "ours, checkpointing": training_checkpointed,
    },
}


def measured(part: str, whose: str, batch: int) -> float:
    """GiB, in a process of its own."""
    command = [sys.executable, __file__, "--batch", str(batch), "--measure", part, whose]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--only", default=",".join(MEASURES))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        sys.path.insert(0, str(ROOT / "src"))
        part, whose = options.measure
        print(MEASURES[part][whose](options.batch))
        return
    for part in options.only.split(","):
        if part not in MEASURES:
            parser.error(f"--only: {part} is none of {', '.join(MEASURES)}")
        base = measured(part, "authors", options.batch)
        print(f"{part:10}{'authors':22}{base:7.2f} GiB", flush=True)
        for whose in list(MEASURES[part])[1:]:
            gib = measured(part, whose, options.batch)
            ratio = f"{gib / base:.2f} of it (target {TARGET})"
            print(f"{part:10}{whose:22}{gib:7.2f} GiB  {ratio}", flush=True)


if __name__ == "__main__":
    main()
