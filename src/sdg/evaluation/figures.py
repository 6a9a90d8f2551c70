"""What the table of a run's samples adds up to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sdg.io.csv_table import table_text
from sdg.io.files import write_whole
from sdg.metrics.alignment import bootstrap_interval
from sdg.metrics.layout import spread_within

__all__ = ["figures", "write_table"]


def figures(
    table: Sequence[Mapping],
    gamma: float,
    conditions: Sequence[str],
    by_reference: Sequence[str],
    factors: Sequence[str],
    computed: Mapping,
    draws: int,
) -> dict:
    """What `metrics.json` holds.

    Arguments:
        table: a row for each sample: its cost, and what was read off it.
        gamma: γ, for the record.
        conditions: what each sample was asked for; intervals are over these.
        by_reference: similarities to images.
        factors: names of the attributes that were read.
        computed: what was computed over all ranks.
        draws: resamplings for an interval.
    """
    cost = mean_cost([row["cost"] for row in table])
    metrics: dict[str, Any] = {
        "gamma": gamma,
        "num_samples": len(table),
        "num_prompts": len(set(conditions)),
        "seconds_per_sample": cost.pop("seconds"),
        "cost_per_sample": cost,
    }

    def column(name: str) -> torch.Tensor:
        return torch.tensor([float(row[name]) for row in table])

    metrics["similarity"] = column("similarity").mean().item() if "similarity" in table[0] else None
    metrics |= computed
    if metrics.get("alignment", {}).get("all") is not None:
        # A condition that names nothing is neither right nor wrong.
        asked = [k for k, row in enumerate(table) if row["all"] is not None]

        def interval(name: str) -> tuple[float, float]:
            return bootstrap_interval(
                torch.tensor([float(table[k][name]) for k in asked]),
                [conditions[k] for k in asked],
                draws,
            )

        metrics["alignment_all_interval"] = interval("all")
        if "shows" in table[0]:
            metrics["shows"] = sum(table[k]["shows"] for k in asked) / len(asked)
            metrics["shows_interval"] = interval("shows")
    if "residual" in table[0]:
        metrics["residual"] = column("residual").quantile(0.5).item()
    for kind in by_reference:
        groups = [row[kind] for row in table]
        parts: dict = {"agreement": {}, "agreement_interval": {}}
        for factor in factors:
            compared = [row for row in table if row[f"{kind}_{factor}"] is not None]
            if compared:
                same = torch.tensor([float(row[f"{kind}_{factor}"]) for row in compared])
                parts["agreement"][factor] = same.mean().item()
                parts["agreement_interval"][factor] = bootstrap_interval(
                    same, [row[kind] for row in compared], draws
                )
        if f"{kind}_mask_iou" in table[0]:
            overlap = column(f"{kind}_mask_iou")
            parts |= {
                "mask_iou": overlap.mean().item(),
                "mask_iou_interval": bootstrap_interval(overlap, groups, draws),
            }
        if table[0].get(f"{kind}_mask_iou_random") is not None:
            parts["mask_iou_random"] = column(f"{kind}_mask_iou_random").mean().item()
        for name, value in parts.items():
            metrics.setdefault(name, {})[kind] = value
    if "x" in table[0]:
        metrics["position_spread"] = spread_within(
            torch.stack([column("x"), column("y")], 1), list(conditions)
        )
    return metrics


def mean_cost(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The cost of a sample: the mean of each figure, of memory the largest."""
    means = {}
    for name in costs[0]:
        values = [cost[name] for cost in costs]
        means[name] = max(values) if name == "peak_memory" else sum(values) / len(values)
    return means


def write_table(file: Path, rows: Sequence[Mapping]) -> None:
    """A .csv with a line for each row."""
    write_whole(file, table_text(rows))
