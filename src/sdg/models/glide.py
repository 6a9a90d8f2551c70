"""GLIDE's noised CLIP: encoders of noisy images and of sentences that need no fine-tuning."""

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from open_clip import SimpleTokenizer
from open_clip.model import _build_text_tower
from torch import Tensor, nn

from sdg.errors import UserError
from sdg.models.clip import BPE_SIZE
from sdg.models.noisy import NoisyEncoder
from sdg.models.recompute import Modulated

__all__ = ["GlideImageEncoder", "GlideTextEncoder"]


class LevelToken(Modulated):
    """h ← norm(h + (e_t, 0, …, 0)): the first token is that of the noise level."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm = norm
        self.modulation: Tensor | None = None  # e_t, (B, C), there during a forward pass only

    def forward(self, h: Tensor) -> Tensor:
        assert self.modulation is not None  # `GlideImageEncoder.run_tower` sets it
        first = h[:, :1] + self.modulation[:, None].to(h.dtype)
        normed: Tensor = self.norm(torch.cat([first, h[:, 1:]], 1))
        return normed


class GlideImageEncoder(NoisyEncoder):
    """E(x_t, t) of GLIDE (Nichol et al. 2021, arXiv 2112.10741): a ViT trained on noisy images.

    In the place of the class token stands a learned one of the level t.

    Arguments:
        tower: open_clip's VisionTransformer, from normalised images to embeddings; it is copied.
        clip: config of the CLIP it belongs to; its text tower is a `GlideTextEncoder`.
        schedule: config of the noise schedule that t refers to.
    """

    notice = (
        "GLIDE's noised CLIP, (c) 2021 OpenAI, MIT licence. Its model card: images of people, "
        "violent objects and some hate symbols were filtered out of its training data; for "
        "research, not for images of people, not recommended for commercial use; biased towards "
        "Western concepts."
    )

    def __init__(self, tower: nn.Module, clip: dict[str, Any], schedule: dict[str, Any]):
        width = clip["model"]["vision_cfg"]["width"]
        config = {"family": "glide", "clip": clip, "schedule": schedule}
        super().__init__(copy.deepcopy(tower), config, width, calibrated=False)
        self.tower.ln_pre = LevelToken(self.tower.get_submodule("ln_pre"))
        self.levels = nn.Embedding(schedule["T"], width)

    def level_features(self, t: Tensor) -> Tensor:
        features: Tensor = self.levels(t)
        return features

    def run_tower(self, x: Tensor, features: Tensor) -> Tensor:
        first = self.tower.get_submodule("ln_pre")
        assert isinstance(first, LevelToken)
        first.modulation = features
        try:
            r: Tensor = self.tower(x)
        finally:
            first.modulation = None  # it holds the graph, with which no copy could be made
        return r


class GlideTextEncoder(nn.Module):
    """E_text(y) of GLIDE's noised CLIP, with CLIP's own BPE tokenizer.

    Arguments:
        embed_dim: D.
        context_length: tokens of the longest sentence, start and end included.
        vocab_size: rows of the table of tokens; the last of them may be unused.
        width, heads, layers: of the transformer.

    Raises:
        UserError: the table is shorter than the tokenizer's vocabulary.
    """

    def __init__(
        self,
        embed_dim: int,
        context_length: int,
        vocab_size: int,
        width: int,
        heads: int,
        layers: int,
    ):
        super().__init__()
        if vocab_size < BPE_SIZE:
            raise UserError(
                f"this text encoder has {vocab_size} tokens, fewer than the {BPE_SIZE} of its "
                "tokenizer; it is another one than GLIDE's."
            )
        text = {
            "context_length": context_length,
            "vocab_size": vocab_size,
            "width": width,
            "heads": heads,
            "layers": layers,
        }
        self.config: dict[str, Any] = {"embed_dim": embed_dim, **text}
        self.tower: Any = _build_text_tower(embed_dim, text)

    @cached_property
    def tokenizer(self) -> SimpleTokenizer:
        """From sentences to tokens, (N, context_length); its vocabulary comes with open_clip."""
        return SimpleTokenizer(context_length=self.config["context_length"])

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Unit embeddings, (N, D), of N sentences; of long ones the first tokens are read."""
        tokens = self.tokenizer(list(sentences))
        return F.normalize(self.tower(tokens.to(self.tower.text_projection.device)), dim=-1)
