"""Guided sampling under `Trainer.predict`: requests in, images out, sharded over ranks."""

import json
import shutil
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from PIL import Image
from rich.progress import Progress
from torch import Tensor

from sdg.data.requests import Request, weighted
from sdg.diffusion.denoiser import Denoiser
from sdg.diffusion.samplers import Noise, Step, sample, steps_taken
from sdg.errors import UserError
from sdg.guidance.method import Method
from sdg.guidance.similarity import Similarity
from sdg.metrics.cost import Meter, Network, peak_memory, reset_peak_memory
from sdg.report.grid import to_uint8
from sdg.report.trajectory import Trajectory

__all__ = ["GuidedSampling", "refuse_foreign"]


def refuse_foreign(folder: Path) -> None:
    """Raises a `UserError` where a run would replace pictures that no run of ours left there."""
    if any((folder / "images").glob("*")) and not any((folder / "rows").glob("rank-*.jsonl")):
        raise UserError(f"{folder}/images holds files that are not of a sampling run; set hydra.run.dir to another folder.")


class GuidedSampling(pl.LightningModule):
    """Draws an image for every request and writes it at once, under the request's own index: ranks never meet in a file.

    Arguments:
        denoiser: of the unconditional model.
        sampler: one of `sdg.diffusion.samplers`.
        method: how the similarity steers.
        similarity: what alike means; None for an unguided run.
        folder: gets `images/00000.png`, … and a line for each in `rows/rank-K.jsonl`.
        start: an image (3, H, W) that every sample starts from; None is pure noise.
        strength: how far from it.
        trajectory: how many samples of the first batch to follow from noise to image.
    """

    def __init__(self, denoiser: Denoiser, sampler, method: Method, similarity: Similarity | None, folder: Path, start: Tensor | None = None,
                 strength: float = 1.0, trajectory: int = 0):
        super().__init__()
        self.denoiser, self.sampler, self.method, self.similarity = denoiser, sampler, method, similarity
        self.encoder = similarity.encoder if similarity else None  # named here, it moves to the device with this module
        self.start, self.strength, self.trajectory, self.folder = start, strength, trajectory, Path(folder)
        self.steps = sampler.steps if start is None else steps_taken(sampler.steps, strength)
        self.progress = Progress()
        self.shape = (3,) + (denoiser.config["resolution"],) * 2

    def on_predict_start(self) -> None:
        self.folder = Path(self.trainer.strategy.broadcast(str(self.folder)))
        if self.trainer.is_global_zero:
            for name in ("images", "rows"):  # of an earlier run into this folder
                shutil.rmtree(self.folder / name, ignore_errors=True)
                (self.folder / name).mkdir(parents=True)
            (self.folder / "rows" / "rank-0.jsonl").touch()  # from now on the folder is known as a run's
        self.trainer.strategy.barrier()
        (batches,) = self.trainer.num_predict_batches
        self.progress.disable = not self.trainer.is_global_zero
        self.task = self.progress.add_task("sampling", total=batches * self.steps)
        self.progress.start()

    def predict_step(self, batch: list[Request], index: int) -> list[int]:
        began = time.perf_counter()
        reset_peak_memory(self.device)
        meter = Meter(self.networks())
        noise, guide = Noise([request.seed for request in batch], self.shape, self.device), None
        if self.similarity:
            wishes = {name: [weighted(request.wishes[name]) for request in batch] for name in self.similarity.terms}
            guide = self.method.guide(self.similarity.to(wishes, self.device), self.denoiser.schedule, self.sampler)
        followed = Trajectory(self.folder) if self.trajectory and index == 0 and self.trainer.is_global_zero else None

        def on_step(done: int, step: Step) -> None:
            self.progress.advance(self.task)
            if followed:
                followed.add(step.x[: self.trajectory], step.x0[: self.trajectory])
        start = None if self.start is None else self.start.to(self.device).expand(len(batch), *self.shape)
        images = sample(self.denoiser, self.sampler, noise, guide, start, self.strength, on_step)
        seconds, memory, cost = time.perf_counter() - began, peak_memory(self.device), meter.close(images[0])
        if followed:
            print(f"trajectory: {followed.write()} (and .gif, x_t above x̂_0)")
        self.write(batch, images, {name: value / len(batch) for name, value in ({"seconds": seconds} | cost).items()} | {"peak_memory": memory})
        return [request.index for request in batch]  # Lightning warns of a step that returns nothing

    def networks(self) -> dict[str, Network]:
        """What is metered."""
        found = {"denoiser": Network(self.denoiser.network, lambda x: self.denoiser(x, 0)[0])}
        if self.encoder:
            found["encoder"] = Network(self.encoder.tower, lambda x: self.encoder.encode(x, torch.zeros(1, dtype=torch.long, device=x.device)).z)
        return found

    def write(self, batch: list[Request], images: Tensor, cost: dict[str, float]) -> None:
        pixels = to_uint8(images).permute(0, 2, 3, 1).numpy()
        with open(self.folder / "rows" / f"rank-{self.global_rank}.jsonl", "a") as rows:
            for request, image in zip(batch, pixels):
                file = f"images/{request.index:05d}.png"
                Image.fromarray(image).save(self.folder / file)
                row = {"index": request.index, "seed": request.seed, "file": file, "cost": cost}
                rows.write(json.dumps(row) + "\n")

    def on_predict_end(self) -> None:
        self.progress.stop()
        self.trainer.strategy.barrier()
