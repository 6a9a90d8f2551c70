"""The average of a model's weights over its training, which is what is exported."""

from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from sdg.errors import number

__all__ = ["EMA"]


class EMA(WeightAveraging):
    """An exponential moving average whose memory grows with the run:

        θ̄ ← d θ̄ + (1 − d) θ,   d = min(decay, (1 + n)/(10 + n))   after n updates

    With d = `decay` from the start, as Lightning's own, a short run would end near where it began: at 0.999 the first weights
    are still 37 % of the average after 1000 steps.

    Arguments:
        decay: the largest d, in [0, 1].
    """

    def __init__(self, decay: float = 0.999):
        number("callbacks.ema.decay", decay, 0, 1)

        def average(mean: Tensor, now: Tensor, n: Tensor) -> Tensor:
            return now.lerp(mean, min(decay, (1 + int(n)) / (10 + int(n))))
        super().__init__(use_buffers=True, avg_fn=average)
