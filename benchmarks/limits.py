"""What limits guided sampling: the denoiser, the encoder, or how hard it steers?

Each part is replaced by the truth in turn.

The shapes' training set, taken as the whole distribution, has a perfect denoiser and a perfect
noise-aware similarity in closed form. With weights w_i(x_t) ∝ exp(−‖x_t − √ᾱ_t x_i‖² / 2(1−ᾱ_t))
over its images x_i,

    E[x_0 | x_t] = Σ_i w_i x_i,        log p(y | x_t) = log Σ_{i shows y} w_i   (Σ_i w_i = 1).

    python benchmarks/limits.py [prompts=32] [each=2] [images=10000]
"""

import sys
import time
from pathlib import Path

import torch
from runs import named_options

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from sdg import Pipeline  # noqa: E402
from sdg.data.captions import FACTORS, named_factors, zero_shot_caption  # noqa: E402
from sdg.data.shapes import Shapes  # noqa: E402
from sdg.diffusion.denoiser import Denoiser  # noqa: E402
from sdg.diffusion.samplers import DDPM  # noqa: E402
from sdg.diffusion.schedule import Schedule  # noqa: E402
from sdg.metrics.alignment import Alignment  # noqa: E402
from sdg.metrics.retrieval import retrieval_top1  # noqa: E402
from sdg.models.registry import load_judge  # noqa: E402

NAMED = ["shape", "colour", "pattern", "background"]


class Truth(torch.nn.Module):
    """The posterior over the data set's images.

    As a network it predicts x_0, as a similarity it is log p(y | x_t).
    """

    def __init__(self, data: Shapes, schedule: Schedule):
        super().__init__()
        pixels = torch.from_numpy(data.images[:].copy()).permute(0, 3, 1, 2)
        self.images = pixels.flatten(1).float() / 127.5 - 1
        self.factors, self.schedule = torch.from_numpy(data.factors), schedule
        self.norms = self.images.square().sum(1)

    def log_weights(self, x, t):
        a = self.schedule.alpha_bar(t).view(-1, 1).to(x.dtype)
        # ‖x‖² is the same for all images.
        distance = a * self.norms - 2 * a.sqrt() * x.flatten(1) @ self.images.T
        return torch.log_softmax(-distance / (2 * (1 - a)), 1)

    def forward(self, x, t):
        return (self.log_weights(x, t).exp() @ self.images).view_as(x)

    def show(self, prompt: str) -> torch.Tensor:
        """Which images show all that the prompt names, (N,)."""
        right = torch.ones(len(self.images), dtype=torch.bool)
        for name, value in named_factors(prompt).items():
            right &= self.factors[:, list(FACTORS).index(name)] == value
        return right

    def to_prompts(self, prompts):
        """log p(y | x_t), as a similarity of a batch with these prompts."""
        shown = torch.stack([self.show(prompt) for prompt in prompts])

        def similarity(x, level):
            weights = self.log_weights(x, torch.full((len(x),), level))
            return torch.logsumexp(weights.masked_fill(~shown, -torch.inf), 1)

        return similarity


def row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def two_places(shares) -> list[str]:
    return [f"{share:.2f}" for share in shares]


def encoders_by_level(
    truth: Truth, noisy, clip, held_out: Shapes, levels=(0, 200, 400, 600, 700, 800, 900)
) -> None:
    """How much each encoder still reads off x_t, beside the most that anyone could.

    That is zero-shot accuracy of every factor, and retrieval.
    """
    print()
    row("t", "reader", *FACTORS, "retrieval top-1")
    print("|---" * (len(FACTORS) + 3) + "|")
    batch = held_out.__getitems__(list(range(500)))
    x0, factors = batch["image"], batch["factors"]
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    captions = {}
    for name, values in FACTORS.items():
        sentences = [zero_shot_caption(name, value) for value in values]
        captions[name] = clip.encode_text(sentences)
    keys = clip.encode_image(x0)
    every = torch.arange(len(x0))
    for level in levels:
        t = torch.full((len(x0),), level)
        x = truth.schedule.q_sample(x0, t, noise)
        for reader, encoder in (("noise-aware", noisy), ("clean CLIP", clip)):
            z = encoder.encode_image(x, t)
            shares = [
                ((z @ captions[name].T).argmax(1) == factors[:, i]).float().mean()
                for i, name in enumerate(FACTORS)
            ]
            row(level, reader, *two_places([*shares, retrieval_top1(z, keys)]))
        w = truth.log_weights(x, t).exp()
        shares = []
        for i in range(len(FACTORS)):
            values = torch.nn.functional.one_hot(truth.factors[:, i]).float()
            shares.append(((w @ values).argmax(1) == factors[:, i]).float().mean())
        a = truth.schedule.alpha_bar(level).sqrt().float()
        closest = torch.cdist(x.flatten(1), a * x0.flatten(1)).argmin(1)
        shares.append((closest == every).float().mean())
        row(level, "exact posterior", *two_places(shares))


def wanted(sentence: str) -> list[int]:
    """The value of each factor that a sentence names, else −1."""
    named = named_factors(sentence)
    return [named.get(factor, -1) for factor in FACTORS]


RUNS = {  # similarity: γ
    "noise-aware": (0, 5, 30),
    "clean CLIP": (30,),
    "exact log p(y|x_t)": (1, 4),
}


@torch.no_grad()
def main(prompts: int, each: int, images: int) -> None:
    shipped = Pipeline.from_pretrained("shapes")
    noisy, clip, schedule = shipped.encoder, shipped.clip, shipped.denoiser.schedule
    judge = load_judge("weights/shapes/judge.safetensors")
    held_out = Shapes(prompts, 1)
    asked = [held_out.caption(i, 0, NAMED) for i in range(prompts)]
    sentences = [sentence for sentence in asked for _ in range(each)]
    truth = Truth(Shapes(images, 0, cache="data/shapes"), schedule)
    encoders_by_level(truth, noisy, clip, Shapes(500, 1, cache="data/shapes"))
    denoisers = {
        "trained": shipped.denoiser,
        "exact": Denoiser(truth, schedule, prediction="x0"),
    }
    conditions = {
        "noise-aware": (noisy, {"prompt": asked, "num_samples": each}),
        "clean CLIP": (clip, {"prompt": asked, "num_samples": each}),
        "exact log p(y|x_t)": (
            None,
            {"similarity": truth.to_prompts(sentences), "num_samples": len(sentences)},
        ),
    }
    print()
    row("denoiser", "similarity", "γ", *NAMED, "all", "s/sample")
    print("|---" * (len(NAMED) + 5) + "|")
    for denoiser, similarity, gamma in runs():
        began = time.perf_counter()
        encoder, condition = conditions[similarity]
        pipe = Pipeline(
            denoisers[denoiser], encoder, clip, sampler=DDPM(100), resolution=shipped.shape[-1]
        )
        # One batch, as `to_prompts` needs it.
        output = pipe(**condition, gamma=gamma, batch_size=len(sentences), progress=False)
        alignment = Alignment(list(FACTORS))
        alignment.update(
            judge(output.tensors).guesses(), torch.tensor(list(map(wanted, sentences)))
        )
        shares = alignment.compute()
        row(
            denoiser,
            similarity if gamma else "(unguided)",
            gamma,
            *two_places([shares[name] for name in (*NAMED, "all")]),
            f"{(time.perf_counter() - began) / len(sentences):.2f}",
        )


def runs():
    """Each (denoiser, similarity, γ)."""
    for denoiser in ("trained", "exact"):
        for similarity, gammas in RUNS.items():
            for gamma in gammas:
                yield denoiser, similarity, gamma


if __name__ == "__main__":
    main(**named_options(sys.argv[1:], {"prompts": 32, "each": 2, "images": 10_000}))
