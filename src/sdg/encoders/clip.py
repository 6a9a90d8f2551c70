"""CLIP: E(x) for images and E(y) for sentences, on one unit sphere."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, SimpleTokenizer
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn

import sdg.encoders.towers  # noqa: F401  (registers the small towers with timm)
from sdg.encoders.stages import Encoded, recorded
from sdg.encoders.tokenizer import WordTokenizer
from sdg.errors import UserError

__all__ = ["CLIP", "Normalise", "tokens"]

BPE_SIZE = 49408  # tokens of open_clip's BPE


class Normalise(nn.Module):
    """From [-1, 1] to CLIP's own mean and deviation; inside the encoder, so that the gradient passes through."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(OPENAI_DATASET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(OPENAI_DATASET_STD).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return ((x + 1) / 2 - self.mean) / self.std


def tokens(words: Sequence[str]) -> int:
    """How many tokens a tokenizer of these words has; of none, open_clip's."""
    return len(words) + 3 if words else BPE_SIZE


class CLIP(nn.Module):
    """An image tower and a text tower whose embeddings agree for an image and its caption (Radford et al. 2021, arXiv 2103.00020).

    Arguments:
        model: what open_clip's CustomTextCLIP takes: `embed_dim`, `vision_cfg` (any timm tower, or open_clip's own), `text_cfg` and `quick_gelu`.
        words: vocabulary of a word tokenizer; empty takes open_clip's BPE.
    """

    def __init__(self, model: dict, words: list[str] = ()):
        super().__init__()
        self.config = {"model": model, "words": list(words)}
        if model["text_cfg"]["vocab_size"] < tokens(words):
            raise UserError(f"encoder.model.text_cfg.vocab_size={model['text_cfg']['vocab_size']} is too small for "
                            f"{f'{len(words)} words' if words else 'encoder.tokenizer=bpe'}; it must be at least {tokens(words)}.")
        self.towers = CustomTextCLIP(model["embed_dim"], dict(model["vision_cfg"]), dict(model["text_cfg"]), quick_gelu=model.get("quick_gelu", False))
        length = self.towers.context_length
        self.tokenizer = WordTokenizer(words, length) if words else SimpleTokenizer(context_length=length)
        self.normalise = Normalise()

    @property
    def logit_scale(self) -> Tensor:
        """c of the logits c · cos(E(x), E(y)): learned, at most 100."""
        return self.towers.logit_scale.exp().clamp(max=100)

    @property
    def resolution(self) -> int:
        """Side of the images that the tower was made for."""
        return self.config["model"]["vision_cfg"]["image_size"]

    @property
    def tower(self) -> nn.Module:
        """The image tower."""
        return self.towers.visual

    def encode(self, x: Tensor, t: Tensor | None = None, stages: Sequence[str] = ()) -> Encoded:
        """Embeddings and the maps of `stages`, in one pass."""
        with recorded(self.tower, stages) as maps:
            return Encoded(self.encode_image(x, t), maps)

    def encode_image(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """Unit embeddings, (B, D), of images (B, 3, H, W) in [-1, 1]. A clean encoder is told no level: `t` changes nothing."""
        return F.normalize(self.towers.visual(self.normalise(x)), dim=-1)

    def encode_text(self, sentences: list[str]) -> Tensor:
        """Unit embeddings, (N, D), of N sentences."""
        return F.normalize(self.towers.text(self.tokenizer(sentences).to(self.normalise.mean.device)), dim=-1)

    def forward(self, x: Tensor, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """Both embeddings of pairs, (B, D) each."""
        return self.encode_image(x), self.encode_text(sentences)
