"""Samples beside the reference images that their conditions refer to."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sdg.data.prompts import primary_prompt
from sdg.evaluation.networks import Networks
from sdg.metrics.layout import intersection_over_union

__all__ = ["ReferenceMetrics", "reference_kinds"]


class ReferenceMetrics:
    """Compares samples with their references: attributes that agree, outlines that overlap.

    Arguments:
        names: of the attributes.
        images: {name: reference, (3, H, W) in [-1, 1]}.
        conditions: {kind: prompt} of each sample.
    """

    def __init__(
        self,
        names: Sequence[str],
        images: Mapping[str, Tensor],
        conditions: Sequence[Mapping[str, str]],
    ):
        self.names, self.images, self.conditions = names, images, conditions
        self.kinds = reference_kinds(conditions, images)
        self.factors: dict[str, Tensor] = {}
        self.masks: dict[str, Tensor] = {}

    def prepare(self, networks: Networks, device: torch.device) -> None:
        """Reads the references' attributes, and outlines where there is a judge."""
        if not self.images:
            return
        images = torch.stack(list(self.images.values())).to(device)
        judgement = networks.judge(images) if networks.judge else None
        factors = networks.factors(images, judgement)
        self.factors = dict(zip(self.images, factors, strict=True))
        if judgement:
            self.masks = dict(zip(self.images, judgement.mask > 0, strict=True))

    def add_agreement(self, factors: Tensor, index: Tensor, rows: list[dict]) -> None:
        """Notes which attributes each sample shares with its reference, as `{kind}_{name}`.

        What the reference lacks is not shared: None.

        Arguments:
            factors: of the samples, integers (B, factors).
            index: of the samples, integers (B,).
        """
        for kind in self.kinds:
            references = self.reference_names(kind, index)
            expected = torch.stack([self.factors[name] for name in references])
            agreement = torch.where(expected >= 0, (factors == expected).int(), -1)
            for row, values in zip(rows, agreement.tolist(), strict=True):
                for name, value in zip(self.names, values, strict=True):
                    row[f"{kind}_{name}"] = None if value < 0 else value

    def add_overlap(self, masks: Tensor, index: Tensor, rows: list[dict]) -> None:
        """Notes the overlap of outlines with the reference's, and with another reference's.

        Arguments:
            masks: of the samples, booleans (B, H, W).
            index: of the samples, integers (B,).
        """
        for kind in self.kinds:
            references = self.reference_names(kind, index)
            expected = torch.stack([self.masks[name] for name in references])
            overlap = intersection_over_union(masks, expected).tolist()
            chance = self.chance_overlap(kind, masks, references)
            for row, iou, random in zip(rows, overlap, chance, strict=True):
                row[f"{kind}_mask_iou"] = round(iou, 4)
                row[f"{kind}_mask_iou_random"] = random and round(random, 4)

    def chance_overlap(
        self, kind: str, masks: Tensor, references: Sequence[str]
    ) -> list[float | None]:
        """Overlaps with the next condition's reference; None where all have the same one."""
        prompts = (primary_prompt(condition[kind]) for condition in self.conditions)
        distinct = list(dict.fromkeys(prompts))
        if len(distinct) == 1:
            return [None] * len(masks)
        following = dict(zip(distinct, distinct[1:] + distinct[:1], strict=True))
        others = torch.stack([self.masks[following[name]] for name in references])
        return intersection_over_union(masks, others).tolist()

    def reference_names(self, kind: str, index: Tensor) -> list[str]:
        return [primary_prompt(self.conditions[i][kind]) for i in index.tolist()]


def reference_kinds(
    conditions: Sequence[Mapping[str, str]], images: Mapping[str, Tensor]
) -> list[str]:
    """The kinds of prompts that refer to an image in every condition."""
    kinds: list[str] = []
    if not images:
        return kinds
    for kind in conditions[0]:
        prompts = (primary_prompt(condition[kind]) for condition in conditions)
        if all(prompt in images for prompt in prompts):
            kinds.append(kind)
    return kinds
