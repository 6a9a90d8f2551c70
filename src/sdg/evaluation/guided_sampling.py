"""Guided sampling under `Trainer.predict`: requests in, images out, sharded over ranks."""

import time
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sdg.data.image import to_uint8
from sdg.data.requests import Request
from sdg.diffusion.sampler import Step
from sdg.evaluation.store import SampleStore
from sdg.metrics.cost import Meter, Network, peak_memory, reset_peak_memory
from sdg.pipeline.guided_run import GuidedRun
from sdg.pipeline.memory import MemoryParts
from sdg.progress import Bar
from sdg.report.trajectory import Trajectory

__all__ = ["GuidedSampling"]


class RankBatches(Dataset):
    """The requests of each batch of one process of several: every `world`-th, from its own on.

    Arguments:
        batches: the indices of each.
    """

    def __init__(
        self, requests: Sequence[Request], batches: Sequence[range], rank: int, world: int
    ):
        self.requests, self.batches = requests, batches
        self.places = range(rank, len(batches), world)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> list[Request]:
        return [self.requests[i] for i in self.batches[self.places[index]]]


class GuidedSampling(pl.LightningModule):
    """Draws an image for every request and writes it at once.

    It is written under the request's own index: ranks never meet in a file.

    Whole batches are shared among the ranks; those that are done already are left alone.

    Arguments:
        run: that draws them.
        requests: of the run.
        store: of the run's samples, which gets the images and knows those that are drawn.
        trajectory: how many samples of the first batch to follow from noise to image.
    """

    def __init__(
        self,
        run: GuidedRun,
        requests: Sequence[Request],
        store: SampleStore,
        trajectory: int = 0,
    ):
        super().__init__()
        self.run = run
        # Named here, they move to the device with this module.
        self.denoiser, self.encoder = run.parts.denoiser, run.parts.encoder
        self.requests, self.store, self.trajectory = requests, store, trajectory
        self.steps = len(run.steps)
        self.progress = Bar("sampling")
        self.parts = MemoryParts(store.batches.batch_size)
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer batches than ranks

    def setup(self, stage: str) -> None:
        # What the first process finds is what all go by. Not in on_predict_start, which a process
        # without a batch never reaches.
        missing = self.trainer.strategy.broadcast(self.store.missing())
        rank, world = self.trainer.global_rank, self.trainer.world_size
        self.batches = RankBatches(self.requests, missing, rank, world)
        every = -(-len(self.store.batches) // self.trainer.world_size)
        self.done = (every - len(self.batches)) * self.steps
        self.progress.begin(every * self.steps, self.done, self.trainer.is_global_zero)

    def predict_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)

    def predict_step(self, batch: list[Request], index: int) -> list[int]:
        began = time.perf_counter()
        reset_peak_memory(self.device)
        meter = Meter(self.networks())
        self.run.parts.to(self.device)
        done, drawn = self.done, 0
        followed: Trajectory | None = None

        def draw(part: list[Request]) -> Tensor:
            nonlocal drawn, followed
            self.done = done + drawn * self.steps // len(batch)
            if self.trajectory and part[0].index == 0:
                followed = Trajectory(self.store.folder)

            def on_step(count: int, step: Step) -> None:
                self.progress.reach(self.done + count * len(part) // len(batch))
                if followed and part[0].index == 0:
                    followed.add(step.x[: self.trajectory], step.x0[: self.trajectory])

            images = self.run.draw(part, on_step)
            drawn += len(part)
            return images

        images = self.parts.draw(draw, batch)
        self.done = done + self.steps
        seconds, memory, cost = (
            time.perf_counter() - began,
            peak_memory(self.device),
            meter.close(images[0]),
        )
        if followed:
            print(f"trajectory: {followed.write()} (and .gif, x_t above x̂_0)")
        self.write(
            batch,
            images,
            {name: value / len(batch) for name, value in ({"seconds": seconds} | cost).items()}
            | {"peak_memory": memory},
        )
        return [
            request.index for request in batch
        ]  # Lightning warns of a step that returns nothing

    def networks(self) -> dict[str, Network]:
        """What is metered."""
        networks = {"denoiser": Network(self.denoiser.network, lambda x: self.denoiser(x, 0).x0)}
        encoder = self.encoder
        if encoder:

            def embedding(x: Tensor) -> Tensor:
                return encoder.encode(x, torch.zeros(1, dtype=torch.long, device=x.device)).z

            inside = "denoiser" if encoder.reads_estimate else None
            networks["encoder"] = Network(encoder.tower, embedding, inside)
        return networks

    def write(self, batch: list[Request], images: Tensor, cost: dict[str, float]) -> None:
        self.store.add(
            to_uint8(images),
            [
                {
                    "index": request.index,
                    "seed": request.seed,
                    "condition": dict(request.conditions),
                    "cost": cost,
                }
                for request in batch
            ],
        )

    def teardown(self, stage: str) -> None:
        self.progress.stop()
        self.trainer.strategy.barrier()
