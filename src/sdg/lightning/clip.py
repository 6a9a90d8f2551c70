"""Training the clean CLIP on images and their captions."""

import torch
from torch import Tensor

from sdg.data.shapes import FACTORS
from sdg.encoders.clip import CLIP as Encoder
from sdg.encoders.contrastive import contrastive_loss
from sdg.lightning.training import TrainingModule

__all__ = ["CLIP"]


class CLIP(TrainingModule):
    """Symmetric contrastive training; validation is zero-shot accuracy of each factor of the shapes, where they are known.

    Arguments:
        clip: the two towers.
    """

    def __init__(self, clip: Encoder, **training):
        super().__init__("clip", clip, **training)

    def training_step(self, batch: dict, index: int) -> Tensor:
        image, text = self.model(batch["image"], batch["caption"])
        loss = contrastive_loss(image, text, self.model.logit_scale, self.gather, self.global_rank)
        self.log_dict({"train/loss": loss, "train/logit_scale": self.model.logit_scale.detach()}, prog_bar=True)
        return loss

    def validation_step(self, batch: dict, index: int) -> None:
        image = self.model.encode_image(batch["image"])
        for column, (factor, values) in enumerate(FACTORS.items()):
            guess = (image @ self.model.encode_text([zero_shot_caption(factor, value) for value in values]).T).argmax(1)
            self.log(f"val/{factor}", (guess == batch["factors"][:, column]).float().mean(), prog_bar=True, sync_dist=True, batch_size=len(image))


def zero_shot_caption(factor: str, value: str) -> str:
    """"a heart", "a red shape", "a shape on a white background"."""
    return {"shape": f"a {value}", "background": f"a shape on a {value} background"}.get(factor, f"a {value} shape")
