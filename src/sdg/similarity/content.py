"""What a reference shows, wherever it is."""

from torch import Tensor

from sdg.errors import choice, number
from sdg.models.encoder import ImageEncoder
from sdg.similarity.noisy_images import NoisyImages
from sdg.similarity.run_context import RunContext
from sdg.similarity.term import Pairs, Term

__all__ = ["Content"]


class Content(Term):
    """The cosine with the reference, noised to the same level or as it is.

        cos(E(x, s), E(x'_s, s)),   x'_s = the reference noised to the same level
        cos(E(x, s), E(x', 0))

    The first is eq. 9 of Liu et al., WACV 2023 (arXiv 2112.05744). The second is what the encoder
    was trained to find, E(x_t, t) ≈ E(x_0): the reference's own noise blurs nothing.

    Arguments:
        encoder: E; gives the default weight.
        weight: w; None takes the encoder's logit scale.
        noised: whether the reference is noised to the level of x; the first of the two, else the
            second.
    """

    condition_option, by_reference = "reference", True

    def __init__(self, encoder: ImageEncoder, weight: float | None = None, noised: bool = True):
        super().__init__(encoder.cosine_scale if weight is None else number("weight", weight))
        self.noised = choice("noised", noised, (True, False))

    @classmethod
    def from_config(  # type: ignore[override]  # a term's own options
        cls, run: RunContext, weight: float | None = None, noised: bool = True
    ) -> "Content":
        return cls(run.image_encoder, weight, noised)

    def compare(self, x: NoisyImages, pairs: Pairs, references: NoisyImages | None) -> Tensor:
        assert references is not None  # by_reference
        return (x.z[pairs.samples] * references.z[pairs.targets]).sum(-1)
