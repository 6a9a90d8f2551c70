"""How much of the denoiser's error an encoder's gradient explains, at every level."""

import math
from collections.abc import Callable, Sequence

import torch
from rich.progress import track
from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.schedule import Schedule
from sdg.metrics.explained import explained, information

__all__ = ["explained_by_level", "information_by_encoder", "information_of"]

# λ of the levels: noisier ones are the tail of `information`, and with less noise what a denoiser's
# error correlates with is its own blur.
LOG_SNR = range(-7, 3)
PART = 32  # images that go through the denoiser, with a gradient, at once

# From noisy images, their levels and x̂_0(x_t) to logits of the sentences.
Logits = Callable[[Tensor, Tensor, Tensor], Tensor]


def sources(noisy, clean, text: Tensor) -> dict[str, Logits]:
    """Whose gradients are compared: each from x_t, t and x̂_0 to logits of all sentences."""
    scale = clean.logit_scale.detach()

    def aware(x, t, x0):
        encoded = noisy.encode(x, t)
        z = encoded.z * noisy.logit_scale if encoded.scaled is None else encoded.scaled
        return z @ text.T

    def at_noise(x, t, x0):
        return scale * clean.encode_image(x) @ text.T

    def through_denoiser(x, t, x0):
        return scale * clean.encode_image(x0) @ text.T

    return {
        "noise-aware": aware,
        "clean": at_noise,
        "clean, through the denoiser": through_denoiser,
    }


def explained_by_level(
    noisy,
    clean,
    denoiser: Denoiser,
    images: Tensor,
    prompts: Sequence[str],
    bank: Sequence[str],
    seed: int,
) -> list[dict]:
    """A row for each level and gradient: t, γ* and what is explained, as `explained` defines them.

        sim(x_t, y) = z · E_text(y) − log mean_k exp(z · E_text(y_k)),   z = E(x_t, t)

    over the bank's y_k: what guides, `similarity=[text]`. Levels have λ = −7, −6 … 2.

    Arguments:
        noisy, clean: encoders of one embedding space.
        denoiser: that gives ε̂.
        images: x_0, (N, 3, H, W), in [-1, 1].
        prompts: y, one an image.
        bank: sentences beside which each is weighed.

    Raises:
        UserError: the denoiser has no level with as much noise.
    """
    schedule = Schedule(**noisy.config["schedule"])
    with torch.no_grad():
        own, others = clean.encode_text(list(prompts)), clean.encode_text(list(bank))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(
        images.device
    )
    rows = []
    for level in track(levels_at(schedule), "gradients"):
        gradients: dict[str, list[Tensor]] = {}
        errors = []
        a = schedule.alpha_bar(level, images.device).to(images.dtype)
        matched = int(
            denoiser.schedule.match(
                schedule.alpha_bar(level).view(1),
                own="the denoiser's schedule",
                other="the encoder's schedule",
            )
        )
        for start in range(0, len(images), PART):
            part = slice(start, start + PART)
            x = schedule.q_sample(images[part], level, noise[part]).requires_grad_()
            t = torch.full((len(x),), level, device=x.device)
            x0 = denoiser(x, matched).x0
            errors.append((schedule.noise(x0, x, level) - noise[part]).detach())
            text = torch.cat([own[part], others])
            for name, logits in sources(noisy, clean, text).items():
                similarity = beside_bank(logits(x, t, x0), len(x))
                (g,) = torch.autograd.grad(similarity.sum(), x, retain_graph=True)
                gradients.setdefault(name, []).append((1 - a).sqrt() * g)
        for name, parts in gradients.items():
            gamma, error = explained(torch.cat(parts), torch.cat(errors))
            rows.append({"t": level, "encoder": name, "gamma_best": gamma, "explained": error})
    return rows


def levels_at(schedule: Schedule) -> list[int]:
    """The levels with λ nearest to `LOG_SNR`."""
    alpha_bar = schedule.alpha_bar(torch.arange(schedule.T)).flatten()
    log_snr = (alpha_bar / (1 - alpha_bar)).log()
    return [int((log_snr - level).abs().argmin()) for level in reversed(LOG_SNR)]


def beside_bank(logits: Tensor, own: int) -> Tensor:
    """z_i · E_text(y_i) − log mean_k exp(z_i · E_text(y_k)), (B,), from logits (B, own + K)."""
    index = torch.arange(own, device=logits.device)
    bank = logits[:, own:]
    return logits[index, index] - bank.logsumexp(1) + math.log(bank.shape[1])


def information_by_encoder(rows: Sequence[dict], schedule: Schedule) -> dict[str, float]:
    """{whose gradient: nats}: ½ ∫ explained dλ over the levels measured."""
    nats = {}
    for name in dict.fromkeys(row["encoder"] for row in rows):
        own = [row for row in rows if row["encoder"] == name]
        alpha_bar = [schedule.alpha_bar(row["t"]) for row in own]
        log_snr = [float((a / (1 - a)).log()) for a in alpha_bar]
        nats[name] = information(log_snr, [row["explained"] for row in own])
    return nats


def information_of(clean, images: Tensor, prompts: Sequence[str], bank: Sequence[str]) -> float:
    """What the sentences say: E log p(y | x_0)/p(y) of the clean encoder, in nats.

    p(y) is its mean over the bank. Of a bank of K that is at most about log K when no sentence of
    the bank is as true as y.
    """
    with torch.no_grad():
        text = clean.encode_text([*prompts, *bank])
        logits = clean.logit_scale * clean.encode_image(images) @ text.T
        return float(beside_bank(logits, len(prompts)).mean())
