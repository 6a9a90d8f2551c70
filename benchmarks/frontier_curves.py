"""Curves of the share of samples that show their prompt over the residual, and their intervals.

A curve has a point (r(γ), s(γ)) for each γ: the median residual and the share shown. Between two
points it is a straight line. Its frontier is the most that is shown at a residual of at most r,

    F(r) = max {s on the curve where its residual ≤ r},

which is the curve itself as long as both of its coordinates rise with γ.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

__all__ = [
    "at_equal_residual",
    "curve",
    "frontier",
    "gamma_reaching",
    "interval",
    "read_samples",
    "resampled",
]


def frontier(residual: Tensor, shown: Tensor, at: Tensor) -> Tensor:
    """F(r), (…, K); nan where the curve has no residual as small as r.

    Arguments:
        residual: of the curve's points, (…, G), in the order of γ.
        shown: share shown at these points, in [0, 1], (…, G).
        at: the residuals r, (…, K).
    """
    at = at[..., None]
    start, end = residual[..., None, :-1], residual[..., None, 1:]
    first, last = shown[..., None, :-1], shown[..., None, 1:]
    along = (at - start) / (end - start)
    crossing = first + along * (last - first)
    on_segments = torch.where((along >= 0) & (along <= 1), crossing, -torch.inf)
    at_points = torch.where(residual[..., None, :] <= at, shown[..., None, :], -torch.inf)
    most = torch.cat([on_segments, at_points], -1).amax(-1)
    return torch.where(most.isinf(), torch.nan, most)


def at_equal_residual(
    curve: tuple[Tensor, Tensor], base: tuple[Tensor, Tensor], fractions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The residuals at which two curves are compared, and the frontier of each there, (…, K).

    The residuals are r = a (b/a)^f, where [a, b] is the range that both curves cover: evenly spread
    in their logarithm, since curves rise at its lower end. All is nan where they share no range.

    Arguments:
        curve, base: residual, above 0, and share shown of their points, (…, G) each.
        fractions: f, (K,), in [0, 1].
    """
    low = torch.maximum(curve[0].amin(-1), base[0].amin(-1))[..., None]
    high = torch.minimum(curve[0].amax(-1), base[0].amax(-1))[..., None]
    at = torch.where(high > low, low * (high / low) ** fractions, torch.nan)
    return at, frontier(*curve, at), frontier(*base, at)


def gamma_reaching(gammas: Sequence[float], shown: Sequence[float], level: float) -> float:
    """The least γ at which a share reaches a level, linear in log γ between two positive γ.

    Infinite if no γ reaches it. The smallest positive γ is an upper bound if that is the first to
    reach it: there is no logarithm of 0 to interpolate with.

    Arguments:
        gammas: rising, not negative.
        shown: the share at each.
        level: of the share.
    """
    for k, (gamma, share) in enumerate(zip(gammas, shown, strict=True)):
        if share < level:
            continue
        if k == 0 or gammas[k - 1] == 0:
            return float(gamma)
        along = (level - shown[k - 1]) / (share - shown[k - 1])
        return gammas[k - 1] * (gamma / gammas[k - 1]) ** along
    return math.inf


def read_samples(folders: Sequence[Path]) -> Tensor:
    """What runs with the same prompts measured: (runs, prompts, samples, 2).

    The last axis is `shows` and `residual` of `samples.csv`; nan where a prompt has fewer samples
    than another, or names nothing.

    Raises:
        ValueError: the runs have different prompts.
    """
    runs: list[dict[str, list]] = []
    for folder in folders:
        rows: dict[str, list] = {}
        with open(folder / "samples.csv", newline="") as file:
            for row in csv.DictReader(file):
                pair = [float(row[name] or "nan") for name in ("shows", "residual")]
                rows.setdefault(row["prompt"], []).append(pair)
        runs.append(rows)
    counts: list[dict[str, int]] = []
    for rows in runs:
        counts.append({prompt: len(pairs) for prompt, pairs in rows.items()})
    if any(count != counts[0] for count in counts):
        raise ValueError("these runs have different prompts or numbers of samples")
    samples = torch.full((len(runs), len(runs[0]), max(counts[0].values()), 2), torch.nan)
    for k, rows in enumerate(runs):
        for i, prompt in enumerate(runs[0]):
            samples[k, i, : len(rows[prompt])] = torch.tensor(rows[prompt])
    return samples


def curve(samples: Tensor, picks: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Median residual and share shown at each γ: (draws, G) each, or (G,) without `picks`.

    Arguments:
        samples: `shows` and `residual`, (G, prompts, samples, 2), nan where there is none.
        picks: for each draw, which prompts are counted, integers (draws, prompts).
    """
    if picks is None:
        everything = torch.arange(samples.shape[1])[None]
        return tuple(part[0] for part in curve(samples, everything))
    points = []
    for at_gamma in samples:
        shows, residual = at_gamma[picks].flatten(1, 2).unbind(-1)
        points.append((residual.nanquantile(0.5, 1), shows.nanmean(1)))
    residuals, shares = zip(*points, strict=True)
    return torch.stack(residuals, -1), torch.stack(shares, -1)


def resampled(prompts: int, draws: int = 1000) -> Tensor:
    """Prompts drawn with replacement, integers (draws, prompts); the same at every call."""
    return torch.randint(prompts, (draws, prompts), generator=torch.Generator().manual_seed(0))


def interval(values: Tensor) -> tuple[Tensor, Tensor]:
    """The 95 % interval of values over the draws, their first axis.

    Draws that are nan are left out. The ends are values that occur, so that some may be infinite.
    """
    ends = torch.tensor([0.025, 0.975], dtype=values.dtype)
    low, high = values.nanquantile(ends, 0, interpolation="nearest")
    return low, high
