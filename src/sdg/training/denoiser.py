"""Training the unconditional diffusion model, of images or of an autoencoder's latents."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.noise import Noise
from sdg.diffusion.samplers import DDIM
from sdg.diffusion.sampling import sample
from sdg.models.autoencoder import Autoencoder, latents_of
from sdg.report.grid import plain_grid
from sdg.training.frozen import Frozen
from sdg.training.module import TrainingModule

__all__ = ["DenoiserTraining"]

BINS = 5  # of t, in which validation reports the loss


class DenoiserTraining(TrainingModule):
    """Minimises E_{t, ε} of the denoiser's loss, t as the schedule's family draws it.

    Validation reports it over t and draws samples.

    With an autoencoder x_0 is (E(x) − shift) · scale of each image, E the mean of its posterior,
    encoded in every step.

    Arguments:
        denoiser: network and schedule.
        autoencoder: of the latents that it draws, frozen; None of one that draws images.
        preview: number of samples drawn at each validation, 0 for none.
    """

    model: Denoiser

    def __init__(
        self,
        denoiser: Denoiser,
        preview: int = 32,
        autoencoder: Autoencoder | None = None,
        **training,
    ):
        super().__init__("denoiser", denoiser, **training)
        self.preview, self.frozen = preview, Frozen(autoencoder)

    @property
    def autoencoder(self) -> Autoencoder | None:
        return self.frozen.network

    def training_step(self, batch: dict, index: int) -> Tensor:
        x0 = latents_of(self.autoencoder, batch["image"])
        clock, sigma_data = self.model.schedule.clock, self.model.sigma_data
        t = clock.draw(len(x0), sigma_data=sigma_data).to(x0.device)
        loss = self.model.loss(x0, t, torch.randn_like(x0)).mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict, index: int) -> None:
        x0 = latents_of(self.autoencoder, batch["image"])
        if index == 0 and self.preview and self.trainer.is_global_zero:
            self.draw()
        # The same levels and noise at every validation: what differs between two of them is the
        # model.
        generator = torch.Generator().manual_seed(index)
        T = self.model.schedule.T
        t = torch.randint(T, (len(x0),), generator=generator).to(x0.device)
        loss = self.model.loss(x0, t, torch.randn(x0.shape, generator=generator).to(x0.device))
        self.log("val/loss", loss.mean(), prog_bar=True, sync_dist=True, batch_size=len(x0))
        for b in range(BINS):
            inside = (t * BINS // T) == b
            if inside.any():
                self.log(
                    f"val/loss_t{b * T // BINS}",
                    loss[inside].mean(),
                    sync_dist=True,
                    batch_size=int(inside.sum()),
                )

    def draw(self) -> None:
        """Writes a grid of samples.

        It does so during validation, when the averaged weights are in the model.
        """
        side = self.model.resolution
        assert side is not None  # it is known of what is trained
        images = sample(
            self.model,
            DDIM(steps=min(25, self.model.schedule.T)),
            Noise(range(self.preview), (self.model.channels, side, side), self.device),
        )
        if self.autoencoder:
            images = self.autoencoder.decode(images)
        file = Path(self.trainer.default_root_dir) / "samples" / f"step-{self.global_step:06d}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(plain_grid(images).permute(1, 2, 0).numpy()).save(file)
