"""A run's batches, one after the other, with a bar and what is kept of their steps."""

from collections.abc import Callable

import torch
from torch import Tensor

from sdg.data.requests import Request, Requests
from sdg.diffusion.sampler import Step
from sdg.pipeline.memory import MemoryParts
from sdg.pipeline.output import SampleOutput, joined_steps
from sdg.progress import Bar

__all__ = ["OnStep", "draw_batches"]

OnStep = Callable[[int, Step], None]  # is given how many steps of a batch are done, and the last


def draw_batches(
    draw: Callable[[list[Request], OnStep], Tensor],
    requests: Requests,
    batch_size: int,
    steps: int,
    trajectory: bool,
    callback: OnStep | None,
    progress: bool,
) -> SampleOutput:
    """All samples of a run.

    Arguments:
        draw: draws a batch, (B, 3, H, W), and calls a function after each step.
        requests: what each sample shall be like, and its seed.
        batch_size: how many samples are drawn at once, at most.
        steps: how many steps a batch takes.
        trajectory, callback, progress: as of `Pipeline.__call__`.
    """
    bar, done = Bar("sampling"), 0
    bar.begin(len(requests) * steps, 0, progress)
    images: list[Tensor] = []
    kept: list[list[Step]] = []
    parts = MemoryParts(batch_size)

    def on_step(count: int, step: Step) -> None:
        bar.reach(done * steps + count * len(step.x))
        if trajectory:
            kept[-1].append(Step(step.x.cpu(), step.x0.cpu()))
        if callback is not None:
            callback(count, step)

    try:
        while done < len(requests):
            kept.append([])
            part = requests[done : done + parts.size]
            drawn = parts.attempt(lambda batch: draw(batch, on_step), part)
            if drawn is None:
                kept.pop()
                continue
            images.append(drawn.cpu())
            done += len(part)
    finally:
        bar.stop()
    return SampleOutput(
        torch.cat(images),
        [request.conditions.get("text") for request in requests],
        [request.seed for request in requests],
        joined_steps(kept),
    )
