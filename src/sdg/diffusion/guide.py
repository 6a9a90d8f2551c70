"""What passes between a denoiser, guidance and a sampler."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

__all__ = ["GuidanceOutput", "Guide", "Predict", "Prediction", "guide_of_step"]


class Prediction(NamedTuple):
    """What one call of the network says.

    Attributes:
        x0: x̂_0, not yet clipped, (B, C, H, W).
        variance_weight: with `learned_range` the weights of Σ's interpolation, in [-1, 1], shape of
            x̂_0; else None.
        output: what the network gave, ε, x_0 or v; None of an x̂_0 that was made otherwise.
    """

    x0: Tensor
    variance_weight: Tensor | None = None
    output: Tensor | None = None


# the denoiser at one level: from x_t to its prediction
Predict = Callable[[Tensor], Prediction]


class GuidanceOutput(NamedTuple):
    """What guidance makes of a prediction.

    Arguments:
        prediction: the denoiser's own, of which guidance may have needed the gradient.
        score: an estimate of γ∇ log p(y | x_t), added to the model's ∇ log p(x_t): x̂_0 ← x̂_0 +
            (1−ᾱ_t)/√ᾱ_t · score, and ε̂ with it.
        shift: added to x̂_0 while ε̂ stays.
    """

    prediction: Prediction
    score: Tensor | None = None
    shift: Tensor | None = None


class Guide(Protocol):
    """Guidance as the samplers see it.

    Attributes:
        last_step: whether the step to the clean image is guided too.
        clip_first: whether x̂_0 is clipped before the score moves it, and not again after it.
    """

    last_step: bool
    clip_first: bool

    def guided_repeats(self, t: int) -> int:
        """How often the step from level t is taken guided, with noise put back between.

        0 is a step that is not guided.
        """

    def guide_prediction(
        self, predict: Predict, x_t: Tensor, t: int, s: int, noise: Callable[[], Tensor]
    ) -> GuidanceOutput:
        """Moves the prediction.

        Arguments:
            predict: the denoiser at level t.
            x_t: the samples, (B, C, H, W).
            t, s: the levels that the step goes from and to.
            noise: gives guidance's own noise, shape of x_t.
        """

    def mean_gradient(self, mean: Tensor, x_t: Tensor, t: int, s: int) -> Tensor | None:
        """γ∇sim, at μ_θ or at x_t, which a sampler with a Σ multiplies by that.

        It is None where this guidance does not act so.
        """


def guide_of_step(guide: Guide | None, s: int) -> Guide | None:
    """The guide, if it acts in a step to level s; s = −1 is the image, guided with `last_step`."""
    return None if guide is None or (s < 0 and not guide.last_step) else guide
