"""The U-Net of Stable Diffusion, whose classes are two sentences."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NEGATIVE", "PROMPT", "TextUNet"]

PROMPT, NEGATIVE = 0, 1  # labels


class TextUNet(nn.Module):
    """A `UNet2DConditionModel`, called as the class-conditional networks here are.

    It has two classes, the prompt and the negative prompt, and holds what text encoders made of
    them; so the text encoders are not needed to draw samples. That of Stable Diffusion XL (Podell
    et al. 2023, arXiv 2307.01952, sec. 2.2) is also conditioned on one vector of each sentence, and
    on sizes in pixels: of the original image, where it was cropped, and of the image that is drawn.
    Here they are those of an image that was not cropped.

    Its weights are on the meta device until those of a file take their place.

    Arguments:
        channels: of the latents.
        resolution: side of these.
        tokens: how many vectors a sentence has.
        factor: a side of the image in pixels is so many times a side of its latents.
        options: the other arguments of `UNet2DConditionModel`.

    Attributes:
        prompts: of both sentences, (2, tokens, cross_attention_dim).
        pooled: one vector of each, (2, D), of a network that is conditioned on it; else None.
    """

    prompts: Tensor
    pooled: Tensor | None

    def __init__(
        self, channels: int, resolution: int, tokens: int, factor: int, options: dict[str, Any]
    ):
        from diffusers import UNet2DConditionModel

        super().__init__()
        build: Any = UNet2DConditionModel  # whose decorators say no types
        with torch.device("meta"):
            self.network = build(
                sample_size=resolution, in_channels=channels, out_channels=channels, **options
            )
            width = options["cross_attention_dim"]
            self.register_buffer("prompts", torch.empty(2, tokens, width))
            pooled = None
            if options.get("addition_embed_type") == "text_time":
                pooled = torch.empty(2, pooled_width(options))
            self.register_buffer("pooled", pooled)
        self.factor = factor

    @property
    def same_prompts(self) -> bool:
        """Whether both sentences are the same to the network."""
        pooled = self.pooled is None or torch.equal(*self.pooled)
        return pooled and torch.equal(*self.prompts)

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        extra = None
        if self.pooled is not None:
            height, width = (side * self.factor for side in x.shape[-2:])
            sizes = torch.tensor([height, width, 0, 0, height, width], device=x.device)
            extra = {
                "text_embeds": self.pooled[label],
                "time_ids": sizes.to(self.pooled).expand(len(x), -1),
            }
        predicted: Tensor = self.network(
            x, t, encoder_hidden_states=self.prompts[label], added_cond_kwargs=extra
        ).sample
        return predicted


def pooled_width(options: dict[str, Any]) -> int:
    """D of the pooled vector: what the embedding of six sizes leaves of the network's input."""
    width: int = options["projection_class_embeddings_input_dim"]
    return width - 6 * int(options["addition_time_embed_dim"])
