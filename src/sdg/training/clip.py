"""Training the clean CLIP on images and their captions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sdg.data.datamodule import require_setup
from sdg.errors import UserError, number
from sdg.metrics.retrieval import retrieval_top1
from sdg.models.clip import CLIP
from sdg.training.contrastive import contrastive_loss
from sdg.training.module import TrainingModule

__all__ = ["CLIPTraining"]


class CLIPTraining(TrainingModule):
    """Symmetric contrastive training, with a second term between two views of an image.

    After Mu et al. 2022 (arXiv 2112.12750),

        loss = L(E(x), E_text(y); c) + w L(E(x), E(x + σn); c')

    and, where images have labels, a third (Yang et al. 2022, arXiv 2204.03610), over the captions
    of each factor's classes:

        v Σ_factors CE(softmax_k c · cos(E(x), E_text(caption of class k)), class of x)

    and, where the data gives captions that are wrong in one word (`data.hard_negatives`), a fourth
    (after Yuksekgonul et al. 2023, arXiv 2210.01936), over an image's own caption and those

        u CE(softmax_k c · cos(E(x), E_text(y_k)), own)

    A batch's captions can mostly be told apart by what is largest in an image; that term asks for
    every factor of each. Captions alone make an encoder forget what they never say, such as where
    the object is: two images with one caption become nearly one point, and a fine-tune can hardly
    tell them apart. The second term keeps them apart. Validation is zero-shot accuracy of each
    factor where the data's factors are known; on other data, the share of images whose own caption
    is the nearest of the batch's.

    Arguments:
        clip: the two towers.
        instance_weight: w; 0 is plain CLIP.
        class_weight: v; 0 leaves labels unused.
        negative_weight: u; 0 leaves wrong captions unused.
        instance_noise: σ, in units of [-1, 1].
        instance_scale: c', what the cosines of the second term are multiplied by.
    """

    model: CLIP

    def __init__(
        self,
        clip: CLIP,
        instance_weight: float = 0.0,
        instance_noise: float = 0.3,
        instance_scale: float = 50.0,
        class_weight: float = 0.0,
        negative_weight: float = 0.0,
        **training,
    ):
        super().__init__("clip", clip, **training)
        self.weight, self.noise, self.scale = instance_weight, instance_noise, instance_scale
        self.class_weight = number("module.class_weight", class_weight, 0)
        self.negative_weight = number("module.negative_weight", negative_weight, 0)

    def training_step(self, batch: dict, index: int) -> Tensor:
        image, text = self.model(batch["image"], batch["caption"])
        loss = contrastive_loss(image, text, self.model.logit_scale, self.gather, self.global_rank)
        self.log_dict(
            {"train/loss": loss, "train/logit_scale": self.model.logit_scale.detach()},
            prog_bar=True,
        )
        if self.class_weight:
            classified = self.classification(image, batch)
            self.log("train/class_loss", classified, prog_bar=True)
            loss = loss + self.class_weight * classified
        if self.negative_weight:
            contrast = self.telling_apart(image, text, batch)
            self.log("train/negative_loss", contrast, prog_bar=True)
            loss = loss + self.negative_weight * contrast
        if self.weight:
            view = self.model.encode_image(
                batch["image"] + self.noise * torch.randn_like(batch["image"])
            )
            instance = contrastive_loss(image, view, self.scale, self.gather, self.global_rank)
            self.log("train/instance_loss", instance)
            loss = loss + self.weight * instance
        return loss

    def classification(self, image: Tensor, batch: dict) -> Tensor:
        """Mean over factors of the cross-entropy of an image's class among those of the factor.

        Raises:
            UserError: the images have no labels.
        """
        classes = require_setup(self.datamodule.held_out).classes
        if batch.get("factors") is None or not classes:
            raise UserError(
                "module.class_weight needs labels, which this data has not: set "
                "module.class_weight=0."
            )
        captions = [list(values.values()) for values in classes.values()]
        text = self.model.encode_text(sum(captions, []))
        logits = self.model.logit_scale * image @ text.T
        parts = logits.split(list(map(len, captions)), 1)
        losses = [
            F.cross_entropy(part.float(), labels, ignore_index=-1)
            for part, labels in zip(parts, batch["factors"].T, strict=True)
            if (labels >= 0).any()
        ]
        return torch.stack(losses).mean()

    def telling_apart(self, image: Tensor, text: Tensor, batch: dict) -> Tensor:
        """Cross-entropy of an image's caption among captions that are nearly right, the mean.

        Raises:
            UserError: the data gives none.
        """
        if batch.get("negatives") is None:
            raise UserError(
                "module.negative_weight needs captions that are nearly right, which data=portraits "
                "gives: set data.hard_negatives=4, or module.negative_weight=0."
            )
        wrong = self.model.encode_text(sum(batch["negatives"], []))
        every = torch.cat([text[:, None], wrong.view(len(text), -1, text.shape[1])], 1)
        logits = self.model.logit_scale * torch.einsum("bd,bkd->bk", image, every)
        return F.cross_entropy(logits.float(), logits.new_zeros(len(logits), dtype=torch.long))

    def validation_step(self, batch: dict, index: int) -> None:
        image = self.model.encode_image(batch["image"])
        classes = require_setup(self.datamodule.held_out).classes
        if batch.get("factors") is None or not classes:
            top1 = retrieval_top1(image, self.model.encode_text(batch["caption"]))
            self.log("val/top1", top1, prog_bar=True, sync_dist=True, batch_size=len(image))
            return
        for column, (factor, values) in enumerate(classes.items()):
            guess = (image @ self.model.encode_text(list(values.values())).T).argmax(1)
            there = batch["factors"][:, column] >= 0
            if there.any():
                right = (guess == batch["factors"][:, column])[there].float().mean()
                self.log(
                    f"val/{factor}",
                    right,
                    prog_bar=True,
                    sync_dist=True,
                    batch_size=int(there.sum()),
                )
