"""What limits guided sampling: the denoiser, the encoder, or how hard it steers?

Each part is replaced by the truth in turn.

The shapes' training set, taken as the whole distribution, has a perfect denoiser and a perfect
noise-aware similarity in closed form. With weights w_i(x_t) ∝ exp(−‖x_t − √ᾱ_t x_i‖² / 2(1−ᾱ_t))
over its images x_i,

    E[x_0 | x_t] = Σ_i w_i x_i,        log p(y | x_t) = log Σ_{i shows y} w_i   (Σ_i w_i = 1).

    python benchmarks/limits.py [prompts=32] [samples of each=2] [images=10000]
"""

import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from sdg.data.captions import FACTORS, named_factors, zero_shot_caption  # noqa: E402
from sdg.data.requests import Requests  # noqa: E402
from sdg.data.shapes import Shapes  # noqa: E402
from sdg.diffusion.denoiser import Denoiser  # noqa: E402
from sdg.diffusion.noise import Noise  # noqa: E402
from sdg.diffusion.samplers import DDPM  # noqa: E402
from sdg.diffusion.sampling import sample  # noqa: E402
from sdg.diffusion.schedule import Schedule  # noqa: E402
from sdg.guidance.semantic import SemanticGuidance  # noqa: E402
from sdg.metrics.alignment import Alignment  # noqa: E402
from sdg.metrics.retrieval import retrieval_top1  # noqa: E402
from sdg.models.registry import load_clip, load_clip_noisy, load_denoiser, load_judge  # noqa: E402
from sdg.similarity import Similarity, Text, matched_levels  # noqa: E402

NAMED = ["shape", "colour", "pattern", "background"]


class Truth(torch.nn.Module):
    """The posterior over the data set's images.

    As a network it predicts x_0, as a similarity it is log p(y | x_t).
    """

    def __init__(self, data: Shapes, schedule: Schedule):
        super().__init__()
        self.images = (
            torch.from_numpy(data.images[:].copy()).permute(0, 3, 1, 2).flatten(1).float() / 127.5
            - 1
        )
        self.factors, self.schedule = torch.from_numpy(data.factors), schedule
        self.norms = self.images.square().sum(1)

    def log_weights(self, x, t):
        a = self.schedule.alpha_bar(t).view(-1, 1).to(x.dtype)
        distance = (
            a * self.norms - 2 * a.sqrt() * x.flatten(1) @ self.images.T
        )  # ‖x‖² is the same for all
        return torch.log_softmax(-distance / (2 * (1 - a)), 1)

    def forward(self, x, t):
        return (self.log_weights(x, t).exp() @ self.images).view_as(x)

    def to_prompts(self, prompts):
        shows = torch.stack(
            [
                torch.stack(
                    [
                        self.factors[:, list(FACTORS).index(name)] == value
                        for name, value in named_factors(p).items()
                    ]
                ).all(0)
                for p in prompts
            ]
        )
        return lambda x, level: torch.logsumexp(
            self.log_weights(x, torch.full((len(x),), level)).masked_fill(~shows, -torch.inf), 1
        )


def encoders_by_level(
    truth: Truth, noisy, clip, held_out: Shapes, levels=(0, 200, 400, 600, 700, 800, 900)
) -> None:
    """How much each encoder still reads off x_t, beside the most that anyone could.

    That is zero-shot accuracy of every factor, and retrieval.
    """
    print(
        "\n| t | reader | "
        + " | ".join(FACTORS)
        + " | retrieval top-1 |\n|---|---|"
        + "---|" * (len(FACTORS) + 1)
    )
    batch = held_out.__getitems__(list(range(500)))
    x0, factors = batch["image"], batch["factors"]
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    captions = {
        name: clip.encode_text([zero_shot_caption(name, value) for value in values])
        for name, values in FACTORS.items()
    }
    keys = clip.encode_image(x0)
    for level in levels:
        t = torch.full((len(x0),), level)
        x = truth.schedule.q_sample(x0, t, noise)
        for reader, encoder in (("noise-aware", noisy), ("clean CLIP", clip)):
            z = encoder.encode_image(x, t)
            shares = [
                ((z @ captions[name].T).argmax(1) == factors[:, i]).float().mean().item()
                for i, name in enumerate(FACTORS)
            ]
            print(
                f"| {level} | {reader} | "
                + " | ".join(f"{share:.2f}" for share in shares)
                + f" | {retrieval_top1(z, keys).item():.2f} |"
            )
        w = truth.log_weights(x, t).exp()
        shares = [
            (
                (w @ torch.nn.functional.one_hot(truth.factors[:, i]).float()).argmax(1)
                == factors[:, i]
            )
            .float()
            .mean()
            .item()
            for i in range(len(FACTORS))
        ]
        a = truth.schedule.alpha_bar(level).sqrt().float()
        nearest = (
            (torch.cdist(x.flatten(1), a * x0.flatten(1)).argmin(1) == torch.arange(len(x0)))
            .float()
            .mean()
            .item()
        )
        print(
            f"| {level} | exact posterior | "
            + " | ".join(f"{share:.2f}" for share in shares)
            + f" | {nearest:.2f} |",
            flush=True,
        )


def by_text(image, text, sentences, levels):
    return Similarity(image, {"text": Text(image, text, sentences)}, levels).condition(
        {"text": [((sentence, 1.0),) for sentence in sentences]}
    )


@torch.no_grad()
def main(prompts: int = 32, each: int = 2, images: int = 10_000) -> None:
    trained, judge = (
        load_denoiser("weights/shapes/denoiser.safetensors"),
        load_judge("weights/shapes/judge.safetensors"),
    )
    clip, noisy = (
        load_clip("weights/shapes/clip.safetensors"),
        load_clip_noisy("weights/shapes/clip_noisy.safetensors"),
    )
    held_out = Shapes(prompts, 1)
    requests = Requests(
        [{"text": held_out.caption(i, 0, NAMED)} for i in range(prompts)], each, seed=0
    )
    sentences = [request.conditions["text"] for request in requests]
    truth = Truth(Shapes(images, 0, cache="data/shapes"), trained.schedule)
    exact = Denoiser(truth, trained.schedule, prediction="x0")
    encoders_by_level(truth, noisy, clip, Shapes(500, 1, cache="data/shapes"))
    similarities = {
        "noise-aware": by_text(
            noisy, clip, sentences, matched_levels(trained.schedule, noisy.config["schedule"])
        ),
        "clean CLIP": by_text(clip, clip, sentences, torch.arange(trained.schedule.T)),
        "exact log p(y|x_t)": truth.to_prompts(sentences),
    }
    runs = [
        (denoiser, similarity, gamma)
        for denoiser in ("trained", "exact")
        for similarity, gammas in (
            ("noise-aware", (0, 5, 30)),
            ("clean CLIP", (30,)),
            ("exact log p(y|x_t)", (1, 4)),
        )
        for gamma in gammas
    ]
    print(
        "\n| denoiser | similarity | γ | "
        + " | ".join(NAMED)
        + " | all | s/sample |\n|---|---|---|"
        + "---|" * (len(NAMED) + 2)
    )
    for denoiser, similarity, gamma in runs:
        began = time.perf_counter()
        guide = SemanticGuidance(gamma).prepare(
            similarities[similarity], trained.schedule, DDPM(100)
        )
        drawn = sample(
            {"trained": trained, "exact": exact}[denoiser],
            DDPM(100),
            Noise([r.seed for r in requests], (3, 32, 32)),
            guide,
        )
        alignment = Alignment(list(FACTORS))
        alignment.update(
            judge(drawn).guesses(),
            torch.tensor([[named_factors(p).get(f, -1) for f in FACTORS] for p in sentences]),
        )
        shares = alignment.compute()
        print(
            f"| {denoiser} | {similarity if gamma else '(unguided)'} | {gamma} | "
            + " | ".join(f"{shares[name]:.2f}" for name in [*NAMED, "all"])
            + f" | {(time.perf_counter() - began) / len(drawn):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
