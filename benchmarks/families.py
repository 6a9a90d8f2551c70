"""Every family of denoisers beside its reference, as a Markdown table; minutes on a CPU.

python benchmarks/families.py [--only sample,oracle,guided,seconds] [--rounds 9]

sample   the largest difference of an unguided sample from the reference's, over the largest
         value of that one; float64 here, some of diffusers' schedulers compute in float32
oracle   a Gaussian denoiser of the family, steered by the exact log p(y | x_t) with γ = 1 in
         400 steps, even in λ: how far the samples' mean, in deviations, and variance, as a part
         of it, are from Bayes' rule, or of two denoisers from the flow of their scores; both
         propagated, nothing drawn
guided   a random noise-aware encoder's cosine with a random direction, of unguided samples of
         these random weights and of guided ones, which must be finite
seconds  of CPU time of a guided step, and over those of the same calls of its bare networks:
         medians of interleaved rounds
"""

import argparse
import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import diffusers  # noqa: E402
import gaussian  # noqa: E402
import glide  # noqa: E402
import torch  # noqa: E402
from family_rows import Family, families, unet  # noqa: E402
from torch import Tensor  # noqa: E402
from untrained import CLIP_MODEL  # noqa: E402

from sdg import Denoiser, Heun, Sampler, SemanticGuidance  # noqa: E402
from sdg.diffusion.guide import Guide  # noqa: E402
from sdg.diffusion.guided_denoiser import GuidedDenoiser  # noqa: E402
from sdg.diffusion.sampling import sample  # noqa: E402
from sdg.diffusion.schedule import ANY_ANGLE, Schedule  # noqa: E402
from sdg.guidance.guidance import gradient  # noqa: E402
from sdg.models.clip import CLIP  # noqa: E402
from sdg.models.noise_aware import NoiseAwareEncoder  # noqa: E402
from sdg.models.registry import load_clip_noisy, load_clip_text  # noqa: E402

COLUMNS = {
    "sample": ("reference", "difference"),
    "oracle": ("oracle: mean", "variance"),
    "guided": ("cosine unguided", "guided"),
    "seconds": ("ms a guided step", "over its networks"),
}
GAMMA, BATCH, ORACLE_STEPS = 2000.0, 2, 400
# What a random network of x_0 gives hardly follows x_t, and guidance moves that.
GAMMAS = {"x0": 20_000.0, "flow_x0": 200_000.0}
SPAN = 0.2  # CPU seconds that a round takes at least, of small networks
Similarity = Callable[[Tensor, float], Tensor]


class Draws:
    """Standard normal draws of one batch, in order, the same ones for all."""

    def __init__(self, denoiser: Denoiser, dtype: torch.dtype = torch.float64):
        self.generator, self.dtype = torch.Generator().manual_seed(1), dtype
        self.shape = (BATCH, denoiser.channels, denoiser.resolution, denoiser.resolution)

    def __call__(self, stream: int = 0) -> Tensor:
        drawn = torch.randn(self.shape, generator=self.generator, dtype=torch.float64)
        return drawn.to(self.dtype)


def last_step(denoiser: Denoiser, sampler: Sampler, draws: Draws, guide: Guide | None) -> Tensor:
    """The sample before it is clamped."""
    steps: list[Tensor] = []
    sample(denoiser, sampler, draws, guide, on_step=lambda done, step: steps.append(step.x))
    return steps[-1]


@torch.no_grad()
def difference(family: Family) -> list[str]:
    """Of a sample from the reference's."""
    ours = last_step(family.denoiser, family.sampler, Draws(family.denoiser), None)
    theirs = family.sample(Draws(family.denoiser)).double()
    return [family.reference, f"{((ours - theirs).abs().max() / theirs.abs().max()).item():.0e}"]


def oracle(family: Family) -> list[str]:
    """Errors of mean and variance of what guidance by Bayes' rule should give."""
    denoiser, sampler = family.denoiser.passes[0], copy.copy(family.sampler)
    schedule, exact, expected = denoiser.schedule, None, gaussian.MEAN
    if isinstance(family.denoiser, GuidedDenoiser):
        [scale] = family.denoiser.scales
        exact = gaussian.quality_guided(schedule, denoiser.prediction, scale)
        expected = gaussian.quality_guided_mean(scale)
    sampler.steps, sampler.spacing = ORACLE_STEPS, "log_snr"
    guide = SemanticGuidance(1.0).prepare(gaussian.noise_aware(schedule), schedule, sampler)
    grid = sampler.grid(schedule)
    mean, variance = gaussian.moments(
        schedule, sampler.step, guide, grid, denoiser.prediction, exact
    )
    of_mean = abs(mean - expected) / gaussian.VARIANCE**0.5
    return [f"{of_mean:.4f}", f"{abs(variance / gaussian.VARIANCE - 1):.4f}"]


def random_similarity(denoiser: Denoiser) -> Similarity:
    """The cosine of a random noise-aware encoder's embedding and a random one."""
    torch.manual_seed(6)
    vision = CLIP_MODEL["vision_cfg"] | {"image_size": denoiser.resolution}
    clip = CLIP(CLIP_MODEL | {"vision_cfg": vision}, ("a", "red", "circle"))
    channels = denoiser.channels if denoiser.latents else None
    encoder = NoiseAwareEncoder(
        *(clip.towers.visual, clip.config, denoiser.schedule.config, 32, 32),
        latent_channels=channels,
    )
    encoder.eval().requires_grad_(False)
    aim = torch.nn.functional.normalize(torch.randn(16), dim=0)

    def similarity(x: Tensor, level: float) -> Tensor:
        levels = torch.full((len(x),), max(0, round(level)))
        return encoder.encode_image(x.float(), levels) @ aim

    return similarity


def rise(denoiser: Denoiser, sampler: Sampler, similarity: Similarity) -> list[str]:
    """How the similarity of guided samples is over that of unguided ones of the same draws."""
    gamma = GAMMAS.get(denoiser.prediction, GAMMA)
    guide = SemanticGuidance(gamma).prepare(similarity, denoiser.schedule, sampler)
    values = []
    for acting in (None, guide):
        x = last_step(denoiser, sampler, Draws(denoiser, torch.float32), acting)
        assert x.isfinite().all()
        with torch.no_grad():
            values.append(similarity(x, 0).mean().item())
    return [f"{values[0]:.3f}", f"{values[1]:.3f}"]


def seconds(denoiser: Denoiser, sampler: Sampler, similarity: Similarity, rounds: int) -> list[str]:
    """Of a guided step in the middle of the grid, and over those of its bare networks."""
    guide = SemanticGuidance(GAMMA).prepare(similarity, denoiser.schedule, sampler)
    grid = sampler.grid(denoiser.schedule)
    (t, s), draws = grid[len(grid) // 2], Draws(denoiser, torch.float32)
    x = draws()
    calls: list[Callable[[], object]] = []

    def asked(x: Tensor, level: float) -> Tensor:
        calls.append(lambda: gradient(similarity, x, level))
        return similarity(x, level)

    @torch.no_grad()
    def step(acting: Guide | None) -> None:
        sampler.step(denoiser, x, t, s, draws, acting)

    networks = {part.network for part in denoiser.passes}
    hooks = [
        network.register_forward_pre_hook(
            lambda network, arguments: calls.append(lambda: network(*arguments))
        )
        for network in networks
    ]
    step(SemanticGuidance(GAMMA).prepare(asked, denoiser.schedule, sampler))
    for hook in hooks:
        hook.remove()

    @torch.no_grad()
    def bare() -> None:
        for call in calls:
            call()

    whole, ratios = [], []
    times = max(1, round(SPAN / cpu_seconds(lambda: step(guide))))
    for _ in range(rounds + 1):
        spent = [cpu_seconds(call, times) for call in (lambda: step(guide), bare)]
        whole.append(spent[0])
        ratios.append(spent[0] / spent[1])
    middle = statistics.median(whole[1:])  # the first round warms
    return [f"{1000 * middle:.1f}", f"{statistics.median(ratios[1:]):.2f}"]


def cpu_seconds(call: Callable[[], object], times: int = 1) -> float:
    """CPU seconds of one call, the mean of a few."""
    begun = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - begun) / times


def row(family: Family, columns: list[str], rounds: int) -> list[str]:
    """The cells of a family."""
    sampler = type(family.sampler).__name__
    cells = [family.name, f"{sampler}, {family.sampler.steps}"]
    small = copy.deepcopy(family.denoiser).float()
    similarity = random_similarity(small)
    for column in columns:
        if column == "sample":
            cells += difference(family)
        elif column == "oracle":
            cells += oracle(family)
        elif column == "guided":
            cells += rise(small, family.sampler, similarity)
        else:
            cells += seconds(small, family.sampler, similarity, rounds)
    return cells


def glide_row(columns: list[str], rounds: int) -> list[str]:
    """GLIDE's noised CLIP as the encoder, steering an EDM by a sentence."""
    net, folder = glide.Net(), Path(tempfile.mkdtemp())
    places = glide.save_pair(folder, net)
    image, text = load_clip_noisy(places[0]), load_clip_text(places[1])
    denoiser, sampler = unet("edm", "edm", time="log_sigma", time_scale=0.25).float(), Heun(10)
    image.attach(denoiser)
    aim = text.encode_text(["a red circle"])[0]
    levels = matched(denoiser)

    def similarity(x: Tensor, level: float) -> Tensor:
        t = levels[max(0, round(level))]
        return image.encode_image(x.float(), t.expand(len(x))) @ aim

    cells = ["GLIDE's CLIP steers an EDM", "Heun, 10"]
    for column in columns:
        if column == "sample":
            cells += ["its encoder, from the papers", f"{embedding_difference(image, net):.0e}"]
        elif column == "oracle":
            cells += ["", ""]
        elif column == "guided":
            cells += rise(denoiser, sampler, similarity)
        else:
            cells += seconds(denoiser, sampler, similarity, rounds)
    return cells


def matched(denoiser: Denoiser) -> Tensor:
    """GLIDE's level of each of the denoiser's."""
    alpha_bar = denoiser.schedule.alpha_bar(torch.arange(denoiser.schedule.T)).flatten()
    return Schedule("cosine").match(alpha_bar, ANY_ANGLE)


def embedding_difference(image, net: glide.Net) -> float:
    """Of unit embeddings in float64 from those of the network written from the papers."""
    tensors = glide.random_weights(glide.image_shapes(net), 0, torch.float32)
    p = {name: value.double() for name, value in tensors.items()}
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([100, 900])
    ours = copy.deepcopy(image).double().encode_image(x, t)
    theirs = torch.nn.functional.normalize(glide.embed_image(net, p, x, t), dim=-1)
    return float((ours - theirs).abs().max() / theirs.abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(COLUMNS), help="columns, with commas")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    columns = given.only.split(",")
    if unknown := set(columns) - set(COLUMNS):
        parser.error(f"there is no column {', '.join(unknown)}; there are: {', '.join(COLUMNS)}")
    heads = ["family", "sampler", *(head for name in columns for head in COLUMNS[name])]
    print(f"torch {torch.__version__}, diffusers {diffusers.__version__}\n")
    for cells in (heads, ["---"] * len(heads)):
        print(f"| {' | '.join(cells)} |", flush=True)
    for family in families():
        print(f"| {' | '.join(row(family, columns, given.rounds))} |", flush=True)
    print(f"| {' | '.join(glide_row(columns, given.rounds))} |", flush=True)


if __name__ == "__main__":
    main()
