"""The average of a model's weights over its training, which is what is exported."""

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from sdg.errors import number

__all__ = ["EMA"]


class EMA(WeightAveraging):
    """An exponential moving average whose memory grows with the run.

        θ̄ ← d θ̄ + (1 − d) θ,   d = min(decay, (1 + n)/(10 + n))   after n updates

    With d = `decay` from the start, as Lightning's own, a short run would end near where it began:
    at 0.999 the first weights are still 37 % of the average after 1000 steps. Statistics of
    BatchNorm are averaged too; integers are taken as they are, and so are tensors that hold an
    infinity when the average begins, such as attention masks: the mean of two infinities is NaN.

    Arguments:
        decay: the largest d, in [0, 1].
    """

    def __init__(self, decay: float = 0.999):
        number("callbacks.ema.decay", decay, 0, 1)
        # Places in a list, by its device, type and length; looked for once, since it costs a pass.
        infinite: dict[tuple, list[int]] = {}

        def average(means: list[Tensor], now: list[Tensor], updates: Tensor) -> None:
            n = int(updates)
            if means[0].is_floating_point():  # all of a list are of one type
                key = means[0].device, means[0].dtype, len(means)
                if key not in infinite:
                    infinite[key] = [k for k, value in enumerate(now) if value.isinf().any()]
                torch._foreach_lerp_(means, now, 1 - min(decay, (1 + n) / (10 + n)))
                for k in infinite[key]:
                    means[k].copy_(now[k])
            else:
                torch._foreach_copy_(means, now)

        super().__init__(use_buffers=True, multi_avg_fn=average)

    def setup(self, trainer, pl_module, stage: str) -> None:
        # Lightning would keep it where the model still is, on the CPU, and copy every weight there
        # in every step.
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
