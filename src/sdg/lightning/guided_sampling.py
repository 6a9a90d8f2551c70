"""Guided sampling under `Trainer.predict`: requests in, images out, sharded over ranks."""

import json
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from PIL import Image
from rich.progress import Progress

from sdg.data.requests import Request
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.samplers import Noise, sample
from sdg.guidance.semantic import SemanticGuidance
from sdg.guidance.similarity import Text, total
from sdg.report.grid import to_uint8

__all__ = ["GuidedSampling"]


class GuidedSampling(pl.LightningModule):
    """Draws an image for every request and writes it at once, under the request's own index: ranks never meet in a file.

    Arguments:
        denoiser: of the unconditional model.
        sampler: one of `sdg.diffusion.samplers`.
        guidance: how the similarity steers.
        terms: what alike means; none for an unguided run.
        levels: the encoder's level for each of the denoiser's, (T,).
        folder: gets `images/00000.png`, … and a line for each in `rows/rank-K.jsonl`.
    """

    def __init__(self, denoiser: Denoiser, sampler, guidance: SemanticGuidance, terms: list[Text], levels: torch.Tensor, folder: Path):
        super().__init__()
        self.denoiser, self.sampler, self.guidance, self.terms = denoiser, sampler, guidance, terms
        # The terms hold their encoders in plain lists; naming them here moves them to the device with this module.
        self.encoders = torch.nn.ModuleList({id(term.encoder): term.encoder for term in terms}.values())
        self.levels, self.folder = levels, Path(folder)
        self.shape = (3,) + (denoiser.config["resolution"],) * 2

    def on_predict_start(self) -> None:
        for name in ("images", "rows"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (batches,) = self.trainer.num_predict_batches
        self.progress = Progress(disable=not self.trainer.is_global_zero)
        self.task = self.progress.add_task("sampling", total=batches * self.sampler.steps)
        self.progress.start()

    def predict_step(self, batch: list[Request], index: int) -> list[int]:
        began = time.perf_counter()
        noise = Noise([request.seed for request in batch], self.shape, self.device)
        similarity = total([term.to([request.prompt for request in batch]) for term in self.terms])
        images = sample(self.denoiser, self.sampler, noise, self.guidance.guide(similarity, self.levels), self.guidance.recurrence,
                        on_step=lambda step: self.progress.advance(self.task))
        pixels = to_uint8(images).permute(0, 2, 3, 1).numpy()
        seconds = (time.perf_counter() - began) / len(batch)
        with open(self.folder / "rows" / f"rank-{self.global_rank}.jsonl", "a") as rows:
            for request, image in zip(batch, pixels):
                file = f"images/{request.index:05d}.png"
                Image.fromarray(image).save(self.folder / file)
                row = {"index": request.index, "seed": request.seed, "prompt": request.prompt, "file": file, "seconds": round(seconds, 4)}
                rows.write(json.dumps(row) + "\n")
        return [request.index for request in batch]

    def on_predict_end(self) -> None:
        self.progress.stop()
        self.trainer.strategy.barrier()
