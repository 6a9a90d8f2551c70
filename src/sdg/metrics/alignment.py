"""Does a sample show what its prompt says?"""

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["Alignment", "bootstrap_interval", "bootstrap_of_sums", "hits", "shares"]


class Alignment(Metric):
    """Share of images on which the judge reads the value that the prompt names.

    There is one for each factor, and one for all that are named at once.

    Arguments:
        factors: names, in the order of the judge's guesses.
    """

    full_state_update = False
    right: Tensor
    asked: Tensor

    def __init__(self, factors: list[str]):
        super().__init__()
        self.factors = factors
        self.add_state("right", torch.zeros(len(factors) + 1), dist_reduce_fx="sum")
        self.add_state("asked", torch.zeros(len(factors) + 1), dist_reduce_fx="sum")

    def update(self, guesses: Tensor, truth: Tensor) -> None:
        """Adds images.

        Arguments:
            guesses: the judge's, integers (B, factors).
            truth: what the prompt names, integers (B, factors), −1 where it names nothing.
        """
        right, asked = hits(guesses, truth)
        self.right += right.float().sum(0)
        self.asked += asked.float().sum(0)

    def compute(self) -> dict[str, float | None]:
        """{factor: share, …, "all": share}, None for what no prompt names."""
        return shares(self.right[None], self.asked[None], self.factors)


def hits(guesses: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Which are right and which were asked for, booleans (B, factors + 1).

    The last column is "all that the prompt names".
    """
    asked, right = truth >= 0, guesses == truth
    everything, anything = (right | ~asked).all(1, keepdim=True), asked.any(1, keepdim=True)
    return torch.cat([right & asked, everything & anything], 1), torch.cat([asked, anything], 1)


def shares(right: Tensor, asked: Tensor, factors: list[str]) -> dict[str, float | None]:
    """What was right of what was asked for, summed over rows (B, factors + 1).

    It is {factor: share, …, "all": share}.
    """
    return {
        name: r / a if a else None
        for name, r, a in zip(
            [*factors, "all"], right.sum(0).tolist(), asked.sum(0).tolist(), strict=True
        )
    }


def bootstrap_interval(right: Tensor, prompts: list[str], draws: int = 1000) -> tuple[float, float]:
    """The 95 % interval of a mean, by resampling prompts.

    Samples of one prompt are not independent.

    Arguments:
        right: 0 or 1, or another value, for each sample, (B,).
        prompts: their prompts.
        draws: number of resamplings.
    """
    groups: dict[str, list[float]] = {}
    for value, prompt in zip(right.tolist(), prompts, strict=True):
        groups.setdefault(prompt, []).append(float(value))
    sums = torch.tensor([[sum(group), len(group)] for group in groups.values()])
    return bootstrap_of_sums(sums, draws)


def bootstrap_of_sums(sums: Tensor, draws: int = 1000) -> tuple[float, float]:
    """The 95 % interval of a mean, by resampling groups of values.

    Arguments:
        sums: the sum and the number of each group's values, (G, 2).
        draws: number of resamplings.
    """
    picks = torch.randint(len(sums), (draws, len(sums)), generator=torch.Generator().manual_seed(0))
    shares = sums[picks].sum(1)
    low, high = (shares[:, 0] / shares[:, 1]).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high
