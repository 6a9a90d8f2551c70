"""Guidance of quality: a denoiser's prediction, moved away from that of a worse one."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.guide import Prediction
from sdg.diffusion.noise_range import checked_interval, noise_fraction
from sdg.errors import UserError, number

__all__ = ["GuidedDenoiser", "Negative"]


class Negative(NamedTuple):
    """A denoiser to move away from.

    Arguments:
        denoiser: of the same images and process.
        scale: w; 1 is the guided denoiser's own prediction, 0 that of this one.
        interval: the part of the noise range where it is asked, both ends included, as fractions
            of the levels (Kynkäänniemi et al. 2024, arXiv 2404.07724).
    """

    denoiser: Denoiser
    scale: float
    interval: Sequence[float] = (0.0, 1.0)


class GuidedDenoiser(Denoiser):
    """A denoiser whose predictions are moved away from those of others.

        x̂_0 = x̂_0⁺ + Σ_i (w_i − 1)(x̂_0⁺ − x̂_0ⁱ),   which of one other is x̂_0¹ + w (x̂_0⁺ − x̂_0¹)

    With one that knows no class that is classifier-free guidance (Ho & Salimans 2022, arXiv
    2207.12598, eq. 6, whose w is this w − 1), with a weaker one autoguidance (Karras et al. 2024,
    arXiv 2406.02507, eq. 3). Of exact denoisers it is the score of p⁺(x_t)^w p¹(x_t)^{1−w}.

    The weights add up to 1, and at one x_t and level every prediction is p x_t + q x_0 with p and q
    of that level alone. So it is one and the same whether x̂_0, ε̂, v, the velocity or the score is
    combined, in every process, and the networks may predict different things.

    Σ, what is clipped and all else is the guided denoiser's own; x̂_0 is clipped after it was moved.
    Outside of the intervals its network alone is called.

    Arguments:
        denoiser: the one that is guided, with its class.
        negatives: those that it is moved away from.

    Raises:
        UserError: one is of other images or of another process, or a scale or an interval is none.
    """

    def __init__(self, denoiser: Denoiser, negatives: Sequence[Negative]):
        super().__init__(
            denoiser.network,
            denoiser.schedule,
            prediction=denoiser.prediction,
            variance=denoiser.variance,
            clip=denoiser.clip,
            patch=denoiser.patch,
            max_weight=denoiser.max_weight,
            time=denoiser.time,
            time_scale=denoiser.time_scale,
            noise_scale=denoiser.noise_scale,
            sigma_data=denoiser.sigma_data,
            label=denoiser.label,
            resolution=denoiser.resolution,
            channels=denoiser.channels,
            latents=denoiser.latents,
            autoencoder_digest=denoiser.autoencoder_digest,
            latent_affine=denoiser.latent_affine,
        )
        self.guided = denoiser
        self.negatives = nn.ModuleList(negative.denoiser for negative in negatives)
        self.scales, self.intervals = [], []
        for negative in negatives:
            check_compatible(denoiser, negative.denoiser)
            self.scales.append(number("scale", negative.scale, 0))
            self.intervals.append(checked_interval("interval", negative.interval))

    @property
    def passes(self) -> list[Denoiser]:
        return [self.guided, *self.negatives]

    def forward(self, x: Tensor, t: float | Tensor) -> Prediction:
        """The combined x̂_0, not yet clipped; of `Denoiser.forward`'s arguments."""
        prediction = self.guided(x, t)
        x0 = prediction.x0
        for negative, scale, interval in zip(
            self.negatives, self.scales, self.intervals, strict=True
        ):
            weight = self.weight(scale, interval, x, t)
            if weight is not None:
                x0 = x0 + weight * (prediction.x0 - negative(x, t).x0)
        return prediction if x0 is prediction.x0 else prediction._replace(x0=x0, output=None)

    def weight(
        self, scale: float, interval: tuple[float, float], x: Tensor, t: float | Tensor
    ) -> float | Tensor | None:
        """w − 1 within the interval, of levels (B,) as (B, 1, 1, 1); None where all are outside."""
        (low, high), T = interval, self.schedule.T
        if scale == 1:
            return None
        if not isinstance(t, Tensor):
            return scale - 1 if low <= noise_fraction(t, T) <= high else None
        u = noise_fraction(t, T)
        inside = (low <= u) & (u <= high)
        if not inside.any():
            return None
        return ((scale - 1) * inside.to(x)).view(-1, 1, 1, 1)


def check_compatible(denoiser: Denoiser, other: Denoiser) -> None:
    """Raises a `UserError` where two denoisers are of other images, or of other processes."""
    for what, ours, theirs in (
        ("resolution", denoiser.resolution, other.resolution),
        ("channels", denoiser.channels, other.channels),
        ("latents", denoiser.latents, other.latents),
        ("latent_affine", denoiser.latent_affine or "none", other.latent_affine or "none"),
    ):
        if ours != theirs and None not in (ours, theirs):
            raise UserError(
                f"the two denoisers differ in {what}: {ours} of the guided one, {theirs} of the "
                "other; take two of the same images."
            )
    digests = denoiser.autoencoder_digest, other.autoencoder_digest
    if None not in digests and digests[0] != digests[1]:
        raise UserError(
            "the two denoisers draw latents of different autoencoders; take two of the same "
            "latents."
        )
    process, others = denoiser.schedule.config, other.schedule.config
    if process != others:
        raise UserError(
            f"the two denoisers are of different processes, {words(process)} and {words(others)}; "
            "take two with the same noise levels."
        )


def words(process: dict[str, Any]) -> str:
    return f"{process['kind']} with T={process['T']}"
