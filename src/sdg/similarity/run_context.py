"""What a run offers a similarity that is made from a config."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sdg.data.image_set import ImageSet
from sdg.errors import UserError
from sdg.models.caption_embeddings import CaptionEmbeddings
from sdg.models.encoder import Encoders, ImageEncoder, TextEncoder
from sdg.similarity.term import Targets

__all__ = ["RunContext"]


@dataclass(frozen=True)
class RunContext:
    """Encoders, data, and what the samples shall be like.

    Arguments:
        encoders: of the run; None for a run without one.
        encoder_name: the run's choice of `encoder`, for messages.
        targets: what every sample shall be like, each target with its weight.
        held_out: the held-out part of the data.
        embeddings: of negative captions, where they are kept from run to run.
    """

    encoders: Encoders | None
    encoder_name: str
    targets: Sequence[Targets]
    held_out: ImageSet
    embeddings: CaptionEmbeddings = field(default_factory=CaptionEmbeddings)

    @property
    def any_encoder(self) -> ImageEncoder:
        """The image encoder, a classifier too.

        Raises:
            UserError: there is none.
        """
        if self.encoders is None:
            raise UserError(
                f"encoder={self.encoder_name} reads no images, which a similarity of this run "
                "needs; use encoder=clip_noisy, clip or classifier_noisy, a similarity that "
                "compares pixels alone, or guidance.gamma=0 to sample unguided."
            )
        return self.encoders.image

    @property
    def image_encoder(self) -> ImageEncoder:
        """The image encoder, whose embeddings can be compared.

        Raises:
            UserError: there is none, or it is a classifier.
        """
        encoder = self.any_encoder
        if encoder.classes:
            raise UserError(
                f"encoder={self.encoder_name} knows classes only: use similarity=class "
                "similarity.class.form=classifier, or encoder=clip_noisy."
            )
        return encoder

    @property
    def text_encoder(self) -> TextEncoder:
        """The text encoder of the same space.

        Raises:
            UserError: there is none.
        """
        text = self.encoders.text if self.image_encoder and self.encoders is not None else None
        if text is None:
            raise UserError(
                f"encoder={self.encoder_name} reads no sentence: use a similarity with images, "
                "such as similarity=[content], or encoder=clip_noisy."
            )
        return text
