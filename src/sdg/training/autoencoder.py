"""Training the autoencoder whose latents a latent denoiser draws."""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sdg.data.datamodule import ImageData
from sdg.data.image_set import ImageSet
from sdg.errors import UserError, choice, integer, number
from sdg.models.autoencoder import Autoencoder
from sdg.report.grid import plain_grid
from sdg.training.module import TrainingModule

__all__ = ["AutoencoderTraining", "kl_to_normal", "mean_and_deviation"]

ERRORS = ("l1", "squared")
ROW = 8  # images in a row of the pictures
BATCH = 64  # images that are measured at once


def kl_to_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² − 1 − log σ²), in nats, elementwise.

    Kingma & Welling 2014 (arXiv 1312.6114), appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def mean_and_deviation(latents: list[Tensor]) -> tuple[float, float]:
    """The mean and the standard deviation over all numbers of all batches, in float64.

    Raises:
        UserError: they are no numbers, or the deviation is 0: no scale follows.
    """
    every = torch.cat([part.double().flatten() for part in latents])
    mean, deviation = float(every.mean()), float(every.std(correction=0))
    if not (math.isfinite(mean) and math.isfinite(deviation) and deviation > 0):
        raise UserError(
            f"the latents of the training images have the mean {mean:g} and the deviation "
            f"{deviation:g}, of which no scale follows, so nothing is exported. Train anew with a "
            "lower optimizer.lr or module.kl_weight."
        )
    return mean, deviation


class AutoencoderTraining(TrainingModule):
    """A variational autoencoder (Kingma & Welling 2014, arXiv 1312.6114), without a discriminator.

        loss = mean |D(z) − x|  (or its square) + β · mean KL(q(z | x) ‖ N(0, 1)),   z ~ q(z | x)

    The first mean is over the numbers of the images, the second over those of the latents. Of what
    the authors of latent diffusion add (Rombach et al. 2022, arXiv 2112.10752), a perceptual and an
    adversarial loss, there is nothing.

    After the last step the latents of training images, the means of q, are measured: with their
    mean as the shift, and one over their standard deviation as the scale, the latents that a
    denoiser learns, z = (E(x) − shift) · scale, have mean 0 and variance 1.

    Validation reports the PSNR of D(E(x)), 10 log₁₀(2²/mean squared error) of each image, and
    leaves pictures: a row of images, and below it what comes of them.

    Arguments:
        autoencoder: an `AutoencoderKL`.
        reconstruction: `l1` or `squared`.
        kl_weight: β.
        scale_images: how many training images the scale is measured on.
        preview: number of images shown at each validation, 0 for none.
    """

    model: Autoencoder

    def __init__(
        self,
        autoencoder: Autoencoder,
        reconstruction: str = "l1",
        kl_weight: float = 1e-4,
        scale_images: int = 2048,
        preview: int = 16,
        **training,
    ):
        if autoencoder.network_name != "AutoencoderKL":
            raise UserError(f"an AutoencoderKL is trained here, not an {autoencoder.network_name}.")
        super().__init__("autoencoder", autoencoder, **training)
        self.reconstruction = choice("module.reconstruction", reconstruction, ERRORS)
        self.kl_weight = number("module.kl_weight", kl_weight, 0)
        self.scale_images = integer("module.scale_images", scale_images, 1)
        self.preview = preview

    def training_step(self, batch: dict, index: int) -> Tensor:
        x = batch["image"]
        side = x.shape[-1] // self.model.factor
        made = self.model(x, torch.randn(len(x), self.model.channels, side, side).to(x))
        error = made.images.float() - x
        error = (error.abs() if self.reconstruction == "l1" else error.square()).mean()
        kl = kl_to_normal(made.mean.float(), made.log_variance.float()).mean()
        self.log_dict({"train/reconstruction": error, "train/kl": kl}, prog_bar=True)
        return error + self.kl_weight * kl

    def validation_step(self, batch: dict, index: int) -> None:
        x = batch["image"]
        decoded = self.model.decode(self.model.encode(x)).clamp(-1, 1)
        squared = (decoded - x).square().flatten(1).mean(1).clamp(min=1e-10)
        psnr = (10 * (4 / squared).log10()).mean()
        self.log("val/psnr", psnr, prog_bar=True, sync_dist=True, batch_size=len(x))
        if index == 0 and self.preview and self.trainer.is_global_zero:
            self.show(x[: self.preview], decoded[: self.preview])

    def show(self, images: Tensor, decoded: Tensor) -> None:
        """Writes whole rows of images, each with what comes of them below."""
        whole = max(len(images) // ROW * ROW, min(ROW, len(images)))
        images, decoded = images[:whole], decoded[:whole]
        rows = zip(images.split(ROW), decoded.split(ROW), strict=True)
        pairs = torch.cat([part for row in rows for part in row])
        file = Path(self.trainer.default_root_dir) / "samples" / f"step-{self.global_step:06d}.png"
        file.parent.mkdir(exist_ok=True)
        grid = plain_grid(pairs, min(ROW, len(images)))
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(file)

    @torch.no_grad()
    def finish(self, data: ImageData, device: torch.device) -> None:
        """Measures the latents' scale, which is exported with the weights.

        Raises:
            UserError: the latents are no numbers, or all alike.
        """
        self.model.rescale(1.0, 0.0)
        model = self.model.to(device).eval()
        latents = [model.encode(x.to(device)).cpu() for x in self.measured_images(data)]
        mean, deviation = mean_and_deviation(latents)
        self.model.to("cpu").rescale(1 / deviation, mean)

    def measured_images(self, data: ImageData) -> Iterator[Tensor]:
        """Training images, evenly spaced in their order; of a stream those that come first.

        A folder's first images may be of one class alone.
        """
        if data.train is None:
            data.prepare_data()
            data.setup("fit")
        torch.manual_seed(self.seed)  # of crops and flips
        left = self.scale_images
        if isinstance(data.train, ImageSet):
            count = len(data.train)
            left = min(left, count)
            numbers = [k * count // left for k in range(left)]
            for start in range(0, left, BATCH):
                yield data.train.__getitems__(numbers[start : start + BATCH])["image"]
            return
        for batch in data.train_dataloader():
            yield batch["image"][:left]
            left -= len(batch["image"])
            if left <= 0:
                return
