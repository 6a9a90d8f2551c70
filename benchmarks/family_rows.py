"""The rows of `benchmarks/families.py`: a small random denoiser of each family, and its reference.

Networks written from the papers, and what makes state dicts of them, are those of the tests.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import adm
import dit
import edm
import edm2
import jit
import latent
import torch
import v_diffusion
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from family_references import (
    by_scheduler,
    edm_algorithm_1,
    flow_euler,
    flow_posterior,
    jit_sample,
    preconditioned,
    sit_euler,
)
from family_references import v_diffusion as v_diffusion_loop
from foreign import denoiser_of, random_tensors
from torch import Tensor
from untrained import NETWORK

from sdg import DDIM, DDPM, Denoiser, Heun, Sampler, guided_denoiser
from sdg.models.build import build_denoiser
from sdg.models.registry import load_denoiser

STEPS = 10  # 9 divides 999, so that the levels of linspace are whole
LABEL, NO_CLASS = 2, 5


class Family(NamedTuple):
    """A row.

    Arguments:
        name: of the family.
        denoiser: in float64, with small random weights.
        sampler: that draws from it.
        reference: what the sample is compared with, in words.
        sample: the reference's, from a source of draws in the same order.
    """

    name: str
    denoiser: Denoiser
    sampler: Sampler
    reference: str
    sample: Callable[[Callable[..., Tensor]], Tensor]


def unet(prediction: str, kind: str, **options) -> Denoiser:
    """A UNet2DModel of 32 pixels."""
    torch.manual_seed(0)
    config = {"prediction": prediction, "clip": False, "network": NETWORK} | options
    return build_denoiser(config, {"kind": kind, "T": 1000}, 32).double().eval()


def model_of(denoiser: Denoiser) -> Callable[[Tensor, Tensor], Tensor]:
    """Its network as a scheduler's loop calls it."""
    return lambda x, t: denoiser.network(x, t.reshape(1).expand(len(x))).sample


def discrete() -> Iterator[Family]:
    """DDPM and ADM: ε with a learned Σ, x_0, v."""
    net = adm.Net(32, (1, 2), 1, (2,), head_width=16)
    p = adm.random_weights(net)
    asked = {"schedule": "linear", "T": 1000, "resolution": 16, "qkv": "heads_first"}
    denoiser = denoiser_of(p, **asked, head_width=16, time_scale=1)
    scheduler = DDPMScheduler(variance_type="learned_range", timestep_spacing="linspace")
    yield Family(
        *("ADM, ε and Σ", denoiser, DDPM(STEPS), "diffusers' DDPMScheduler"),
        partial(
            by_scheduler,
            scheduler,
            lambda x, t: adm.forward(net, p, x, t.reshape(1).expand(len(x))),
            steps=STEPS,
        ),
    )
    for name, prediction in (("x_0", "sample"), ("v", "v_prediction")):
        denoiser = unet("x0" if name == "x_0" else "v", "cosine")
        scheduler = DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type=prediction,
            clip_sample=False,
            timestep_spacing="linspace",
        )
        yield Family(
            *(f"DDPM, {name}", denoiser, DDPM(STEPS), "diffusers' DDPMScheduler"),
            partial(by_scheduler, scheduler, model_of(denoiser), steps=STEPS),
        )


def continuous() -> Iterator[Family]:
    """Both generations of v-diffusion, on their published grids."""
    for name, ported, width, eta in (
        ("v-diffusion, as yfcc_2", False, 64, 0.0),
        ("v-diffusion, as danbooru_128", True, 128, 0.0),
        ("v-diffusion, as danbooru_128", True, 128, 1.0),
    ):
        net = v_diffusion.Net(16, (8, width, width), 2, (2,), ported, last_relu=ported)
        # Of half the variance; as they come, samples would be far larger than images.
        p = {
            name: value / 2**0.5 for name, value in random_tensors(v_diffusion.shapes(net)).items()
        }

        def velocity(x: Tensor, phi: float, net=net, p=p) -> Tensor:
            time = torch.full((len(x),), v_diffusion.given_time(net, phi), dtype=x.dtype)
            return v_diffusion.forward(net, p, x, time)

        times = [v_diffusion.published_time(1 - i / STEPS, ported) for i in range(STEPS)]
        sampler = DDPM(STEPS, "trailing") if eta else DDIM(STEPS, "trailing")
        yield Family(
            *(name, denoiser_of(p), sampler, f"v-diffusion's loop, η = {eta:.0f}"),
            partial(v_diffusion_loop, velocity, times=times, eta=eta),
        )


def karras() -> Iterator[Family]:
    """EDM and EDM2, and autoguidance of the first."""
    net = edm.Net(16, 16, (1, 2), 1, (8,))
    good, weak = (edm_weights(net, seed) for seed in (0, 1))
    of_good, of_weak = (partial(preconditioned, partial(edm.forward, net, p)) for p in (good, weak))
    heun, reference = Heun(STEPS), "EDM's algorithm 1"
    yield Family(
        "EDM", denoiser_of(good), heun, reference, partial(edm_algorithm_1, of_good, steps=STEPS)
    )
    net2 = edm2.Net(16, 64, (1, 2), 1, (8,), classes=5)
    p = random_tensors(edm2.shapes(net2))
    p["unet.emb_fourier.freqs"] *= 6
    denoiser = denoiser_of(p)
    denoiser.label = LABEL
    network = partial(edm2.forward, net2, p, y=torch.tensor([LABEL] * 2))
    sampled = partial(edm_algorithm_1, partial(preconditioned, network), steps=STEPS)
    yield Family("EDM2", denoiser, heun, reference, sampled)
    guided = guided_denoiser(
        denoiser_of(good), autoguidance=denoiser_of(weak), autoguidance_scale=2.0
    )

    def moved(x: Tensor, sigma: float) -> Tensor:
        weaker = of_weak(x, sigma)
        return weaker + 2.0 * (of_good(x, sigma) - weaker)

    sampled = partial(edm_algorithm_1, moved, steps=STEPS)
    yield Family("EDM with autoguidance, w = 2", guided, heun, reference, sampled)


def edm_weights(net: edm.Net, seed: int) -> dict[str, Tensor]:
    tensors = random_tensors(edm.shapes(net), seed)
    for name in tensors:
        if name.endswith("resample_filter"):
            tensors[name] = torch.full_like(tensors[name], 0.25)
    return tensors


def flows() -> Iterator[Family]:
    """Rectified flow, SiT and JiT."""
    denoiser = unet("velocity", "flow", time="tau", time_scale=1000.0)

    def velocity(x: Tensor, tau: float) -> Tensor:
        return denoiser.network(x, torch.full((len(x),), 1000 * tau, dtype=x.dtype)).sample

    ode = DDIM(STEPS, "linspace")
    sampled = partial(flow_euler, velocity, steps=STEPS)
    yield Family("rectified flow", denoiser, ode, "Euler's method in its τ", sampled)
    sampled = partial(flow_posterior, velocity, steps=STEPS)
    reference = "Song 2021's step in its α, σ"
    yield Family("rectified flow, with noise", denoiser, DDPM(STEPS), reference, sampled)
    net = dit.Net(16, 3, 6, 4, 32, 2, 4, NO_CLASS)
    p = random_tensors(dit.shapes(net))
    sit = denoiser_of(p, family="sit", heads=4)
    sit.label, y = LABEL, torch.tensor([LABEL] * 2)
    sampled = partial(sit_euler, lambda x, t: dit.forward(net, p, x, t, y)[:, :3], steps=STEPS)
    yield Family("SiT", sit, ode, "SiT's ODE by Euler", sampled)
    yield jit_row(heun=False)
    yield jit_row(heun=True, steps=50)


def jit_row(heun: bool, steps: int = STEPS) -> Family:
    """JiT by Euler's method, or by its own: Heun's on the published grid, t = 0, 1/steps, …"""
    net = jit.Net(256, 64, 32, 12, 2, 4, context=3, bottleneck=8, classes=NO_CLASS)
    p = random_tensors(jit.shapes(net))
    denoiser, y = denoiser_of(p), torch.tensor([LABEL] * 2)
    denoiser.label = LABEL
    sampler = Heun(steps, "trailing") if heun else DDIM(steps, "linspace")
    times = [1 - (t + 1) / 1000 for t, _ in sampler.grid(denoiser.schedule)]
    network = partial(jit.forward, net, p, y=y)
    return Family(
        *("JiT", denoiser, sampler),
        "JiT's ODE by Heun" if heun else "JiT's ODE by Euler",
        partial(jit_sample, network, times=times, heun=heun),
    )


def latents() -> Iterator[Family]:
    """DiT and LDM, and classifier-free guidance of the first."""
    network, folder = latent.transformer(), Path(tempfile.mkdtemp())
    network.save_pretrained(folder / "transformer")
    latent.autoencoder_kl().save_pretrained(folder / "vae")
    options = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
    latent.scheduler(**options).save_pretrained(folder / "scheduler")
    denoiser = load_denoiser(folder, label=LABEL).double()
    network.double()

    def epsilon(x: Tensor, t: Tensor, label: int) -> Tensor:
        levels, labels = t.reshape(1).expand(len(x)), torch.tensor([label] * len(x))
        return network(x, levels, labels).sample[:, :4]

    def guided(x: Tensor, t: Tensor) -> Tensor:
        none = epsilon(x, t, NO_CLASS)
        return none + 4.0 * (epsilon(x, t, LABEL) - none)

    ddim, reference = DDIM(STEPS, "leading"), "diffusers' DDIMScheduler"
    for name, model, drawn in (
        ("DiT, latents", partial(epsilon, label=LABEL), denoiser),
        ("DiT with classifier-free guidance, w = 4", guided, guided_denoiser(denoiser, 4.0)),
    ):
        scheduler = latent.scheduler(**options)
        yield Family(
            name, drawn, ddim, reference, partial(by_scheduler, scheduler, model, steps=STEPS)
        )
    place = Path(tempfile.mkdtemp())
    pipeline = latent.ldm(latent.autoencoder_kl())
    pipeline.save_pretrained(place)
    unet_of_latents = pipeline.unet.double()
    sampled = partial(
        by_scheduler,
        latent.scheduler(),
        lambda x, t: unet_of_latents(x, t).sample,
        steps=STEPS,
    )
    yield Family("LDM, latents", load_denoiser(place).double(), ddim, reference, sampled)


def folders() -> Iterator[Family]:
    """A UNet2DModel as diffusers saves it, under three schedulers."""
    for scheduler, sampler in (
        (DDPMScheduler(clip_sample=False, timestep_spacing="linspace"), DDPM(STEPS)),
        (DDIMScheduler(clip_sample=False, timestep_spacing="leading"), DDIM(STEPS, "leading")),
        (EDMEulerScheduler(), DDIM(STEPS, "karras")),
        (FlowMatchEulerDiscreteScheduler(), DDIM(STEPS, "linspace")),
    ):
        network, folder = latent.unet(3), Path(tempfile.mkdtemp())
        DDPMPipeline(network, scheduler).save_pretrained(folder)
        network.double()
        sampled = partial(
            by_scheduler,
            scheduler,
            lambda x, t, network=network: network(x.double(), t).sample,
            steps=STEPS,
        )
        kind = type(scheduler).__name__
        denoiser = load_denoiser(folder).double()
        yield Family("UNet2DModel", denoiser, sampler, f"diffusers' {kind}", sampled)


def families() -> Iterator[Family]:
    """Every row that samples."""
    for group in (discrete, continuous, karras, flows, latents, folders):
        yield from group()
