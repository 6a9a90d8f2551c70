"""Is a sample recognised as what was asked for, among all that the run asked for?"""

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["Retrieval", "chance_within", "retrieval_top1"]


class Retrieval(Metric):
    """The share of samples whose own sentence is among the k that a reader finds most fitting.

    The k are out of all N sentences.

    Arguments:
        ks: the numbers k.
    """

    full_state_update = False
    hits: Tensor
    seen: Tensor

    def __init__(self, ks: tuple[int, ...] = (1, 5)):
        super().__init__()
        self.ks = ks
        self.add_state("hits", torch.zeros(len(ks), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("seen", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Tensor, own: Tensor) -> None:
        """Adds samples.

        Arguments:
            scores: how well each sentence fits, (B, N).
            own: the place of each sample's own, integers (B,).
        """
        self.hits += torch.stack([chance_within(scores, own, k).double().sum() for k in self.ks])
        self.seen += len(own)

    def compute(self) -> dict[str, float]:
        """{"top1": share, "top5": share}."""
        return {
            f"top{k}": (hits / self.seen).item() for k, hits in zip(self.ks, self.hits, strict=True)
        }


def chance_within(scores: Tensor, own: Tensor, k: int) -> Tensor:
    """The probability that the own sentence is among the k best, (B,).

    Ties are broken at random: with b better ones and e equally good ones, itself among them, it is
    clip((k − b)/e, 0, 1).
    """
    mine = scores.gather(1, own[:, None])
    return ((k - (scores > mine).sum(1)) / (scores == mine).sum(1)).clamp(0, 1)


def retrieval_top1(queries: Tensor, keys: Tensor) -> Tensor:
    """Share of queries (N, D) whose most similar key, among N, is their own."""
    # In mixed precision one side may be in half.
    nearest = (queries.float() @ keys.float().T).argmax(1)
    return (nearest == torch.arange(len(keys), device=keys.device)).float().mean()
