"""A network and a schedule: what p_θ says about x_0, ε and the next, less noisy level."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdg.diffusion.guide import Prediction
from sdg.diffusion.parametrisation import (
    PREDICTIONS,
    SIGMA_DATA,
    TIMES,
    Coefficients,
    coefficients,
    target,
    time_of,
)
from sdg.diffusion.schedule import Schedule
from sdg.diffusion.variational_bound import Reverse, less_noisy, variational_bound
from sdg.errors import UserError, choice, number

__all__ = ["Denoiser", "Reverse"]

VARIANCES = ("fixed_small", "fixed_large", "learned_range")


class Denoiser(nn.Module):
    """p_θ(x_s | x_t) = N(μ_θ(x_t, t), Σ) from a network that predicts x_0 in one way or another.

    `sdg.diffusion.parametrisation` has the ways. Whatever the family, x_t is the image of the
    variance-preserving process; the network alone sees the family's own.

    Arguments:
        network: maps images (B, C, H, W) and levels (B,) to (B, C, H, W), or to 2C channels with
            `learned_range`; a diffusers model's `.sample` is taken.
        schedule: the forward process.
        prediction: `epsilon`, `x0`, `v`, `velocity`, `flow_x0` or `edm`.
        variance: `fixed_small` (β̃), `fixed_large` (β) or `learned_range` (Nichol & Dhariwal 2021,
            eq. 15).
        clip: keep x̂_0 within [-1, 1].
        patch: the network sees blocks of patch × patch pixels as channels (space to depth), at a
            patch² th of the positions.
        time: what the network is told of the noise: its `level`, the `signal` 1 − τ or
            the `tau` of a flow, `log_sigma`, or the `angle` of α and σ.
        time_scale: what that is multiplied by before the network sees it; improved-diffusion's
            models of 4000 levels see t/4, EDM's ¼ log σ, some of v-diffusion log α²/σ².
        noise_scale: s, of a flow of `flow_x0` whose noise is s times as strong, α = 1 − τ, σ = s τ.
        sigma_data: σ_d of `edm`, the deviation of the data: 0.5 of images, 1 of latents that are
            scaled to it.
        label: the class of a class-conditional network; None for a network without classes.
        max_weight: w; a network that predicts x_0 learns it with weight min(1/(1−ᾱ_t), w). Below w
            that is the error of v.
        resolution: side of its images in pixels; None where nobody says, as a network without
            attention may take any.
        channels: of its images.
        latents: whether these are the latents of an autoencoder; any of other than 3 channels are.
            Their resolution is the side of the latents.
        autoencoder_digest: of latents, `latents_digest` of the autoencoder that they are of; None
            where nobody says.
        latent_affine: (shift, scale) of each channel of the latents z = (E(x) − shift) · scale;
            None where they are those of the autoencoder's own config.
        config: plain JSON from which `sdg.models.build.build_denoiser` makes this denoiser, and
            which is stored beside its weights; None for one put together by hand, which samples
            and trains but cannot be stored.

    Raises:
        UserError: an argument is none of these, or they do not go together, such as ε of a process
            that ends in noise alone.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        prediction: str = "epsilon",
        variance: str = "fixed_small",
        clip: bool = True,
        patch: int = 1,
        max_weight: float = 1.0,
        time: str = "level",
        time_scale: float = 1.0,
        noise_scale: float = 1.0,
        sigma_data: float = SIGMA_DATA,
        label: int | None = None,
        resolution: int | None = None,
        channels: int = 3,
        latents: bool = False,
        autoencoder_digest: str | None = None,
        latent_affine: Sequence[Sequence[float]] | None = None,
        config: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.resolution, self.channels, self.config = resolution, channels, config
        self.latents = latents or channels != 3
        self.autoencoder_digest, self.latent_affine = autoencoder_digest, latent_affine
        self.network, self.schedule, self.clip = network, schedule, clip
        self.patch, self.time_scale, self.label = patch, time_scale, label
        self.time = choice("time", time, TIMES)
        self.noise_scale = number("noise_scale", noise_scale, 1e-6)
        self.sigma_data = number("sigma_data", sigma_data, 1e-3)
        self.max_weight = number("max_weight", max_weight, 1)
        self.prediction = choice("prediction", prediction, PREDICTIONS)
        if noise_scale != 1 and prediction != "flow_x0":
            raise UserError(
                f"noise_scale={noise_scale} is of prediction=flow_x0 alone.", "noise_scale"
            )
        if sigma_data != SIGMA_DATA and prediction != "edm":
            raise UserError(f"sigma_data={sigma_data} is of prediction=edm alone.", "sigma_data")
        self.variance = choice("variance", variance, VARIANCES)
        check_last_level(schedule, prediction, time)

    __call__: Callable[..., Prediction]

    @property
    def passes(self) -> list["Denoiser"]:
        """The denoisers that one prediction calls, each a pass of its network: itself alone."""
        return [self]

    def forward(self, x: Tensor, t: float | Tensor) -> Prediction:
        """One call of the network F for x_t: x̂_0, not yet clipped.

            x̂_0 = (p x_t + q F(x_t/d, t))/r,   as `sdg.diffusion.parametrisation` says

        Arguments:
            x: x_t, shape (B, C, H, W).
            t: its level, or one for each image, (B,).
        """
        levels = torch.full((len(x),), t, device=x.device) if isinstance(t, (int, float)) else t
        levels = levels if self.time == "level" else self.time_at(x, t)
        levels = levels if self.time_scale == 1 else levels * self.time_scale
        labels = () if self.label is None else (torch.full((len(x),), self.label, device=x.device),)
        row = None if self.prediction == "x0" else self.coefficients(x, t)
        seen = x if row is None or isinstance(row.input_divisor, float) else x / row.input_divisor
        out = self.network(F.pixel_unshuffle(seen, self.patch), levels, *labels)
        out = F.pixel_shuffle(getattr(out, "sample", out), self.patch).to(x.dtype)
        variance_weight = None
        if self.variance == "learned_range":
            out, variance_weight = out.chunk(2, 1)
        x0 = out if row is None else (row.of_x * x + row.of_output * out) / row.divisor
        return Prediction(x0, variance_weight, out)

    def coefficients(self, x: Tensor, t: float | Tensor) -> Coefficients:
        return coefficients(self.prediction, *self.signal_and_noise(x, t), self.sigma_data)

    def reverse(
        self,
        prediction: Prediction,
        x: Tensor,
        t: float | Tensor,
        s: float | Tensor,
        before: float | None = None,
    ) -> Reverse:
        """p_θ(x_s | x_t): the posterior q(x_s | x_t, x̂_0) of this x̂_0 as it is, with Σ.

        Σ is elementwise, as `variance` says:

            Σ = β̃,   β   or   exp(v log β + (1−v) log β̃),   v = (variance_weight + 1)/2

        At s = −1 the posterior's β̃ is 0 and has no logarithm. That of the step before, from level
        `before` to t, stands in, and for β of `fixed_large` too, as in the paper's code; where no
        step was before, β of this one.

        Arguments:
            before: the level that the step before started from; None is no step before, but at
                level 0, and of levels in a tensor, it stands for 1, of a grid of all levels.
        """
        mean, small = self.schedule.posterior(prediction.x0, x, t, s)
        if self.variance == "fixed_small":
            return Reverse(mean, small.to(x.dtype).expand_as(mean))
        large = self.schedule.beta(t, s, x.device)
        next_small = large
        if before is not None:
            next_small = self.schedule.posterior_variance(before, t, device=x.device)
        elif self.schedule.T > 1 and (isinstance(t, Tensor) or t == 0):
            next_small = self.schedule.posterior_variance(1, 0, device=x.device)
        if self.variance == "fixed_large":
            fixed = torch.where(small > 0, large, next_small)
            return Reverse(mean, fixed.to(x.dtype).expand_as(mean))
        low = torch.where(small > 0, small, next_small).log()
        assert prediction.variance_weight is not None  # `forward` gives it with learned_range
        v = (prediction.variance_weight + 1) / 2
        log_variance = v * large.log().to(x.dtype) + (1 - v) * low.to(x.dtype)
        return Reverse(mean, log_variance.exp())

    def time_at(self, x: Tensor, t: float | Tensor) -> Tensor:
        """What a network that is told no level is told of the noise, (B,), before it is scaled."""
        a = self.schedule.alpha_bar(t, x.device)
        time = time_of(self.time, a.sqrt(), (1 - a).sqrt() / self.noise_scale)
        return time.to(x.dtype).flatten().expand(len(x))

    def signal_and_noise(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ_t and √(1−ᾱ_t)/noise_scale, of the type of x."""
        a = self.schedule.alpha_bar(t, x.device)
        return a.sqrt().to(x.dtype), ((1 - a).sqrt() / self.noise_scale).to(x.dtype)

    def loss(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """L_simple of each image, with `learned_range` L_simple + 0.001 · T · L_t.

        L_simple is the squared error of what the network predicts, for x_0 times min(1/(1−ᾱ_t),
        max_weight). The sum is that of Nichol & Dhariwal 2021, eq. 16; the mean is detached in L_t.

        Arguments:
            x0: images in [-1, 1], or latents, shape (B, C, H, W).
            t: levels, shape (B,).
            noise: ε ~ N(0, I), shape of `x0`.

        Returns:
            one loss per image, shape (B,).
        """
        x = self.schedule.q_sample(x0, t, noise)
        predicted_x0, variance_weight, out = self(x, t)
        assert out is not None  # `forward` gives it
        a = self.schedule.alpha_bar(t, x.device)
        signal_and_noise = self.signal_and_noise(x, t)
        aim = target(self.prediction, x0, noise, *signal_and_noise, self.sigma_data)
        simple = (out - aim).square().flatten(1).mean(1)
        if self.prediction in ("x0", "flow_x0"):
            simple = simple * (1 / (1 - a)).clamp(max=self.max_weight).flatten().to(x.dtype)
        if variance_weight is None:
            return simple
        s = less_noisy(t)
        p = self.reverse(Prediction(predicted_x0.detach(), variance_weight), x, t, s)
        return simple + 0.001 * self.schedule.T * variational_bound(
            self.schedule, x0, x, t, p, self.latents
        )


def check_last_level(schedule: Schedule, prediction: str, time: str) -> None:
    """Whether the formula of this prediction holds at every level of the process.

    Of noise alone, α = 0, ε tells no image: x̂_0 = (x − σ ε̂)/α; and log σ/α is infinite.

    Raises:
        UserError: it does not.
    """
    if not schedule.clock.ends_in_noise:
        return
    alone = f"the noisiest level of schedule {schedule.kind} is noise alone, where"
    if prediction == "epsilon":
        raise UserError(
            f"prediction=epsilon: {alone} x̂_0 = (x − σε)/α divides by zero; take velocity, x0, "
            "flow_x0 or v, or another schedule.",
            "prediction",
        )
    if time == "log_sigma":
        raise UserError(
            f"time=log_sigma: {alone} the log of σ/α is infinite; take level, signal or tau, or "
            "another schedule.",
            "time",
        )
