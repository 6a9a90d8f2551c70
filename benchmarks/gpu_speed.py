"""Images a second of training, sampling and guided sampling; `benchmarks/gpu.sh speed` runs it."""

import sys
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sdg.app.naming import register
from sdg.data.portrait_captions import WORDS
from sdg.models.build import build_denoiser
from sdg.models.clip import CLIP, tokens
from sdg.models.noise_aware import NoiseAwareEncoder

CONF = Path(__file__).resolve().parent.parent / "conf"
STEPS = 50  # of a sample


def networks(overrides: list[str]):
    """The portraits' denoiser and encoder, untrained: speed does not depend on weights."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", ["data=portraits", "encoder=clip", *overrides])
    denoiser, schedule, model = (
        OmegaConf.to_container(part, resolve=True)
        for part in (config.denoiser, config.schedule, config.encoder.model)
    )
    model["text_cfg"]["vocab_size"] = tokens(WORDS)
    clip, size = CLIP(model, WORDS), config.data.resolution
    encoder = NoiseAwareEncoder(clip.towers.visual, clip.config, schedule)
    return build_denoiser(denoiser, schedule, size), encoder.eval(), size


def rate(call, images: int, device: str, seconds: float) -> float:
    """Images a second of a call that takes so many: the median of calls after a warm-up."""

    def timed() -> float:
        began = time.monotonic()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.monotonic() - began

    for _ in range(3):  # compiles, and chooses kernels
        timed()
    times, end = [], time.monotonic() + seconds
    while len(times) < 3 or time.monotonic() < end:
        times.append(timed())
    return images / sorted(times)[len(times) // 2]


def measured(
    batch: int, seconds: float, device: str, precision: str, compiled: bool, overrides: list[str]
) -> list[float]:
    """Images a second of training, sampling and guided sampling."""
    torch.manual_seed(0)
    denoiser, encoder, size = networks(overrides)
    denoiser, encoder = (
        net.to(device, memory_format=torch.channels_last) for net in (denoiser, encoder)
    )
    if compiled:
        denoiser.compile()
    optimizer = torch.optim.AdamW(denoiser.parameters(), 1e-4, fused=True)
    x = torch.rand(batch, 3, size, size, device=device) * 2 - 1
    t = torch.randint(1000, (batch,), device=device)

    def half():
        return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")

    def train():
        with half():
            loss = denoiser.loss(x, t, torch.randn_like(x)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    @torch.no_grad()
    def step():
        with half():
            return denoiser(x, t)

    def guided():
        step()
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(encoder(leaf, t).sum(), leaf)  # in fp32, as guidance has it

    trained = rate(train, batch, device, seconds)
    return [trained, *(rate(call, batch, device, seconds) / STEPS for call in (step, guided))]


def main(batch: int, seconds: float, *overrides: str) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(
        f"{name}, torch {torch.__version__}, "
        f"batches of {batch}; samples of {STEPS} steps; images a second"
    )
    print("| precision | compiled | training | sampling | guided |\n|---|---|---|---|---|")
    compilations = (False, True) if device == "cuda" else (False,)  # on a CPU it takes minutes
    for precision in ("fp32", "bf16"):
        for compiled in compilations:
            figures = measured(batch, seconds, device, precision, compiled, list(overrides))
            cells = " | ".join(f"{figure:.4g}" for figure in figures)
            print(f"| {precision} | {'yes' if compiled else 'no'} | {cells} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:])
