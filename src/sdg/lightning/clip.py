"""Training the clean CLIP on images and their captions."""

import torch
from torch import Tensor

from sdg.encoders.clip import CLIP as Encoder
from sdg.encoders.contrastive import contrastive_loss, retrieval_top1
from sdg.lightning.training import TrainingModule

__all__ = ["CLIP"]


class CLIP(TrainingModule):
    """Symmetric contrastive training, with a second term between two views of an image (Mu et al. 2022, arXiv 2112.12750):

        loss = L(E(x), E_text(y); c) + w L(E(x), E(x + σn); c')

    Captions alone make an encoder forget what they never say, such as where the object is: two images with one caption become nearly
    one point, and a fine-tune can hardly tell them apart. The second term keeps them apart. Validation is zero-shot accuracy of each
    factor where the data's factors are known; on other data, the share of images whose own caption is the nearest of the batch's.

    Arguments:
        clip: the two towers.
        instance_weight: w; 0 is plain CLIP.
        instance_noise: σ, in units of [-1, 1].
        instance_scale: c'.
    """

    def __init__(self, clip: Encoder, instance_weight: float = 0.0, instance_noise: float = 0.3, instance_scale: float = 50.0, **training):
        super().__init__("clip", clip, **training)
        self.weight, self.noise, self.scale = instance_weight, instance_noise, instance_scale

    def training_step(self, batch: dict, index: int) -> Tensor:
        image, text = self.model(batch["image"], batch["caption"])
        loss = contrastive_loss(image, text, self.model.logit_scale, self.gather, self.global_rank)
        self.log_dict({"train/loss": loss, "train/logit_scale": self.model.logit_scale.detach()}, prog_bar=True)
        if self.weight:
            view = self.model.encode_image(batch["image"] + self.noise * torch.randn_like(batch["image"]))
            instance = contrastive_loss(image, view, self.scale, self.gather, self.global_rank)
            self.log("train/instance_loss", instance)
            loss = loss + self.weight * instance
        return loss

    def validation_step(self, batch: dict, index: int) -> None:
        image = self.model.encode_image(batch["image"])
        classes = getattr(self.trainer.datamodule.held_out, "classes", None)
        if batch.get("factors") is None or not classes:
            top1 = retrieval_top1(image, self.model.encode_text(batch["caption"]))
            self.log("val/top1", top1, prog_bar=True, sync_dist=True, batch_size=len(image))
            return
        for column, (factor, values) in enumerate(classes.items()):
            guess = (image @ self.model.encode_text(list(values.values())).T).argmax(1)
            there = batch["factors"][:, column] >= 0
            if there.any():
                right = (guess == batch["factors"][:, column])[there].float().mean()
                self.log(f"val/{factor}", right, prog_bar=True, sync_dist=True, batch_size=int(there.sum()))
