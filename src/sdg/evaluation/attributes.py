"""The attributes of samples beside those that their conditions name."""

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from sdg.data.prompts import parse_weighted_prompt
from sdg.evaluation.networks import Networks
from sdg.metrics.alignment import Alignment, hits, shares
from sdg.metrics.layout import centres
from sdg.metrics.reading import Reading, shows
from sdg.metrics.retrieval import Retrieval
from sdg.models.judge import Judgement

__all__ = ["Attributes", "condition_factors"]


class Attributes(torch.nn.Module):
    """Measures which attributes samples show, of those that their conditions name.

    Arguments:
        networks: with a judge, a reader or both.
        held_out: the held-out images; they say what a sentence names.
        conditions: {kind: prompt} of each sample.
        group: the number of each sample's condition among the distinct ones, integers (N,).

    Attributes:
        wanted: the factors that conditions name, integers (N, factors), −1 for none.
        unwanted: those that they name with a negative weight.
    """

    def __init__(
        self,
        networks: Networks,
        held_out,
        conditions: Sequence[Mapping[str, str]],
        group: Tensor,
    ):
        super().__init__()
        self.networks, self.group = networks, group
        self.judge, self.reader = networks.judge, networks.reader
        self.held_out, self.values = held_out, held_out.attributes
        self.names = list(self.values)
        self.wanted = condition_factors(conditions, 1, held_out)
        self.unwanted = condition_factors(conditions, -1, held_out)
        self.alignment, self.against = Alignment(self.names), Alignment(self.names)
        if self.judge:
            distinct = self.wanted.new_empty(int(group.max()) + 1, len(self.names))
            self.distinct_wanted = distinct.index_copy(0, group, self.wanted)
            self.retrieval, self.judge_alignment = Retrieval(), Alignment(self.names)

    def factors(self, images: Tensor, judgement: Judgement | None) -> tuple[Tensor, Reading | None]:
        """The attributes that images show, integers (B, factors), and the reader's reading.

        They are read by rendering, else by the judge.

        Arguments:
            images: (B, 3, H, W) in [-1, 1].
            judgement: the judge's, of these images; None without a judge.
        """
        if self.reader is None:
            return self.networks.factors(images, judgement), None
        reading = self.reader.infer(images)
        return reading.factors, reading

    def update(
        self, factors: Tensor, reading: Reading | None, index: Tensor, rows: list[dict]
    ) -> None:
        """Adds samples, and what they show to their rows of the table.

        Arguments:
            factors, reading: of `factors`.
            index: of the samples, integers (B,).
        """
        samples = index.cpu()
        wanted = self.wanted[samples].to(factors.device)
        self.alignment.update(factors, wanted)
        self.against.update(factors, self.unwanted[samples].to(factors.device))
        right, asked = hits(factors, wanted)
        missed = (asked & ~right)[:, :-1].tolist()
        all_right, any_asked = right[:, -1].tolist(), asked[:, -1].tolist()
        for k, (row, values) in enumerate(zip(rows, factors.tolist(), strict=True)):
            for name, value in zip(self.names, values, strict=True):
                row[name] = self.values[name][value] if value >= 0 else ""
            row["all"] = int(all_right[k]) if any_asked[k] else None
            row["missed"] = " ".join(compress(self.names, missed[k]))
            named = zip(self.names, wanted[k].tolist(), missed[k], strict=True)
            row["missed_values"] = ", ".join(
                self.values[name][v] for name, v, miss in named if miss
            )
        if reading is None or self.reader is None:
            return
        shown = shows(reading, wanted, self.reader.threshold).tolist()
        for row, residual, all_shown in zip(rows, reading.residual.tolist(), shown, strict=True):
            row["residual"] = round(residual, 5)
            row["shows"] = None if row["all"] is None else int(all_shown)

    def update_judge(self, judgement: Judgement, index: Tensor, rows: list[dict]) -> None:
        """Adds what the judge reads: attributes, how likely every prompt is, the object's place."""
        samples, device = index.cpu(), judgement.mask.device
        self.judge_alignment.update(judgement.guesses(), self.wanted[samples].to(device))
        if self.can_retrieve():
            scores = judgement.log_likelihood(self.distinct_wanted.to(device))
            self.retrieval.update(scores, self.group[samples].to(device))
        for row, (x, y) in zip(rows, centres(judgement.mask > 0).tolist(), strict=True):
            row |= {"x": round(x, 4), "y": round(y, 4)}

    def can_retrieve(self) -> bool:
        """Whether any condition names a factor."""
        return bool((self.distinct_wanted >= 0).any())

    def compute(self, real_guesses: Tensor | None) -> dict:
        """The figures over all ranks.

        Arguments:
            real_guesses: the judge's on held-out images, integers (R, factors); None without a
                judge.
        """
        figures: dict[str, Any] = {"alignment": self.alignment.compute()}
        if (self.unwanted >= 0).any():
            figures["against"] = self.against.compute()
        if real_guesses is not None:
            figures["judge_ceiling"] = self.judge_ceiling(real_guesses)
            if self.reader:
                figures["alignment_judge"] = self.judge_alignment.compute()
            if self.can_retrieve():
                ranks: dict[str, float] = self.retrieval.compute()
                figures["retrieval_judge"] = ranks | {"among": len(self.distinct_wanted)}
        return figures

    def judge_ceiling(self, guesses: Tensor) -> dict[str, float | None]:
        """The judge's accuracy on real images, asked what the conditions ask.

        "all" means the factors that they name, if they name any.
        """
        named = self.wanted.max(0).values >= 0
        factors = self.held_out.__getitems__(list(range(len(guesses))))["factors"]
        truth = torch.where(named | ~named.any(), factors, -1)
        return shares(*hits(guesses, truth), self.names)


def condition_factors(conditions: Sequence[Mapping[str, str]], sign: int, held_out) -> Tensor:
    """The factors that sentences and classes with a weight of this sign name.

    They are integers (N, factors), −1 where none or two are named.
    """
    rows = []
    for condition in conditions:
        parts: list[tuple[str, float]] = []
        for kind in ("text", "class"):
            if kind in condition:
                parts += parse_weighted_prompt(condition[kind])
        named = [part for part, weight in parts if weight * sign > 0]
        rows.append(factors_named(named, held_out))
    return torch.tensor(rows)


def factors_named(parts: Sequence[str], held_out) -> list[int]:
    """The factors that sentences and classes name, as of `condition_factors`."""
    values: dict[str, set[int]] = {factor: set() for factor in held_out.attributes}
    words = []
    for part in parts:
        factor, _, value = part.partition(": ")
        if value in held_out.attributes.get(factor, ()):  # a class that several factors have
            values[factor].add(list(held_out.attributes[factor]).index(value))
        else:
            words.append(part)
    for factor, named in held_out.all_named(" ".join(words)).items():
        values[factor] |= named
    return [next(iter(named)) if len(named) == 1 else -1 for named in values.values()]
