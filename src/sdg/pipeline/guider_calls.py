"""The calls of the network in a loop of diffusers: the level of each, and which is the last."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sdg.diffusion.parametrisation import alpha_bar_of_time
from sdg.diffusion.schedule import Schedule

__all__ = ["LastCall", "level_of"]

ROUNDING = 1e-3  # of a level, of schedulers that compute in float32


def level_of(timestep: Any, schedule: Schedule, network: Mapping[str, Any]) -> float:
    """The level of the schedule that a timestep of a scheduler is.

    Arguments:
        network: how it is given the noise, as of `process_of`.
    """
    value = torch.as_tensor(timestep, dtype=torch.float64, device="cpu").flatten()[0]
    time = network.get("time", "level")
    if time != "level":
        alpha_bar = alpha_bar_of_time(time, value / network["time_scale"])
        value = schedule.clock.level(alpha_bar).clamp(0, schedule.T - 1)
    level, whole = float(value), round(float(value))
    return whole if abs(level - whole) < ROUNDING else level


class LastCall:
    """Tells the last call of the network from the others.

    N steps of a scheduler of second order make more than N calls, such as 2N − 1 of Heun's method,
    and the last of its `timesteps` may stand there twice.

    Arguments:
        scheduler: of diffusers; where a loop's timesteps are not its own, N calls are counted.
    """

    def __init__(self, scheduler: Any):
        self.scheduler = scheduler
        self.calls_there = 0  # at the last timestep, in this loop

    def reached(self, step: int, num_inference_steps: int, timestep: Any) -> bool:
        """Whether the call that begins is the last; asked once for each call.

        Arguments:
            step: number of the call, from 0.
            num_inference_steps: N.
            timestep: of the call.
        """
        now = torch.as_tensor(timestep, device="cpu").flatten()[0]
        timesteps: Tensor = self.scheduler.timesteps.cpu()
        if not (timesteps == now).any():
            return step >= num_inference_steps - 1
        if step == 0:
            self.calls_there = 0
        self.calls_there += int(now == timesteps[-1])
        return self.calls_there == int((timesteps == timesteps[-1]).sum())
