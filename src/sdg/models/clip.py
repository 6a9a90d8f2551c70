"""CLIP: E(x) for images and E(y) for sentences, on one unit sphere."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, SimpleTokenizer
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import HFTokenizer
from torch import Tensor, nn

from sdg.errors import UserError, first_line
from sdg.models.encoder import ImageEncoder
from sdg.models.stages import Encoded, feature_hooks
from sdg.models.tokenizer import WordTokenizer
from sdg.models.towers import image_tower, known, resized

__all__ = ["CLIP", "Normalise", "tokens"]

TOKENIZER = (
    "clean",
    "strip_sep_token",
    "language",
)  # what a config may say of a Hugging Face tokenizer; nothing that runs code
Tokenizer = Callable[[Sequence[str]], Tensor]
BPE_SIZE = 49408  # tokens of open_clip's BPE


class Normalise(nn.Module):
    """From [-1, 1] to the mean and deviation that a CLIP was trained with, OpenAI's by default.

    It is inside the encoder, so that the gradient passes through.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float] = OPENAI_DATASET_MEAN, std: Sequence[float] = OPENAI_DATASET_STD
    ):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, model: Mapping[str, Any]) -> "Normalise":
        """That of a CLIP's config."""
        return cls(**{name: model[name] for name in ("mean", "std") if name in model})

    def forward(self, x: Tensor) -> Tensor:
        return ((x + 1) / 2 - self.mean) / self.std


class ImageTower(nn.Module):
    """An image tower without a text tower, with the temperature that trained CLIPs end at."""

    def __init__(self, visual: nn.Module):
        super().__init__()
        self.visual, self.logit_scale = visual, nn.Parameter(torch.tensor(100.0).log())


def tokens(words: Sequence[str]) -> int:
    """How many tokens a tokenizer of these words has; of none, open_clip's."""
    return len(words) + 3 if words else BPE_SIZE


class CLIP(ImageEncoder):
    """An image tower and a text tower whose embeddings agree for an image and its caption.

    Radford et al. 2021 (arXiv 2103.00020) introduced it.

    Arguments:
        model: what open_clip's CustomTextCLIP takes: `embed_dim`, `vision_cfg` (any timm tower, or
            open_clip's own), `text_cfg`, `quick_gelu`, `init_logit_bias`; and the `mean` and `std`
            of its images. `text_cfg` None leaves an image tower alone.
        words: vocabulary of a word tokenizer; empty takes open_clip's BPE, or the Hugging Face
            tokenizer that `text_cfg` names.
    """

    towers: Any  # an `ImageTower`, or open_clip's CustomTextCLIP, which has no types

    def __init__(self, model: dict[str, Any], words: Sequence[str] = ()):
        super().__init__()
        self.config: dict[str, Any] = {"model": model, "words": list(words)}
        text = model["text_cfg"]
        if text is None:
            self.towers = ImageTower(image_tower(model))
        else:
            if not text.get("hf_tokenizer_name") and text["vocab_size"] < tokens(words):
                raise UserError(
                    f"encoder.model.text_cfg.vocab_size={text['vocab_size']} is too small for "
                    f"{f'{len(words)} words' if words else 'encoder.tokenizer=bpe'}; it must be at "
                    f"least {tokens(words)}."
                )
            if text.get("hf_model_name"):
                raise UserError(
                    "a text tower of Hugging Face's transformers is not supported; choose one of "
                    "open_clip's own."
                )
            self.towers = CustomTextCLIP(
                model["embed_dim"],
                known(model["vision_cfg"]),
                dict(text),
                model.get("quick_gelu", False),
                init_logit_bias=model.get("init_logit_bias"),
            )
            resized(self.towers.visual, model["vision_cfg"])
        self.normalise = Normalise.from_config(model)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """From sentences to tokens; made when it is first asked for, because some come from a hub.

        Raises:
            UserError: this CLIP has no text tower, or its tokenizer cannot be had.
        """
        text = self.config["model"]["text_cfg"]
        if text is None:
            raise UserError(
                "this encoder is an image tower without its text tower; use similarity=[content], "
                "[structure] or [style], or a CLIP with both."
            )
        if self.config["words"]:
            return WordTokenizer(self.config["words"], self.towers.context_length)
        if not (name := text.get("hf_tokenizer_name")):
            bpe: Tokenizer = SimpleTokenizer(context_length=self.towers.context_length)
            return bpe
        try:
            published: Tokenizer = HFTokenizer(
                name,
                self.towers.context_length,
                **{
                    key: value
                    for key, value in text.get("tokenizer_kwargs", {}).items()
                    if key in TOKENIZER
                },
            )
            return published
        except ImportError as error:
            raise UserError(
                f"the tokenizer of this CLIP, {name}, needs: pip install transformers "
                "sentencepiece."
            ) from error
        except (OSError, ValueError) as error:
            raise UserError(
                "the tokenizer of this CLIP cannot be had; offline, fetch it elsewhere (hf "
                f"download {name}) and bring its cache along ({first_line(error)})."
            ) from error

    @property
    def logit_scale(self) -> Tensor:
        """c of the logits c · cos(E(x), E(y)): learned, at most 100."""
        scale: Tensor = self.towers.logit_scale
        return scale.exp().clamp(max=100)

    @property
    def cosine_scale(self) -> float:
        return float(self.logit_scale)

    @property
    def any_size(self) -> bool:
        """One of few words knows its own data only."""
        return not self.config["words"]

    @property
    def resolution(self) -> int:  # type: ignore[override]  # read alone
        """Side of the images that the tower was made for."""
        side: int = self.config["model"]["vision_cfg"]["image_size"]
        return side

    @property
    def tower(self) -> nn.Module:  # type: ignore[override]  # read alone
        """The image tower."""
        visual: nn.Module = self.towers.visual
        return visual

    def encode(self, x: Tensor, t: Tensor | None = None, stages: Sequence[str] = ()) -> Encoded:
        """Embeddings and the maps of `stages`, in one pass."""
        with feature_hooks(self.tower, stages) as maps:
            return Encoded(self.encode_image(x, t), maps)

    def encode_image(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """Unit embeddings, (B, D), of images (B, 3, H, W) in [-1, 1].

        Images are scaled to the tower's own size. A clean encoder does not read `t`.
        """
        if x.shape[-1] != self.resolution:
            x = F.interpolate(x, size=(self.resolution,) * 2, mode="bicubic", antialias=True)
        return F.normalize(self.towers.visual(self.normalise(x)), dim=-1)

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Unit embeddings, (N, D), of N sentences."""
        tokens = self.tokenizer(sentences)
        return F.normalize(self.towers.text(tokens.to(self.normalise.mean.device)), dim=-1)

    def forward(self, x: Tensor, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Both embeddings of pairs, (B, D) each."""
        return self.encode_image(x), self.encode_text(sentences)
