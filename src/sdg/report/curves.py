"""Alignment, fidelity and diversity over a swept number, with intervals."""

import functools
from collections.abc import Callable, Mapping, Sequence

__all__ = ["curves"]

# The first that all jobs have.
FIDELITY = ("fid", "frechet_imagenet", "kernel_judge", "frechet_judge", "frechet_clip")
DIVERSITY = ("diversity_judge", "diversity_clip", "diversity_inception")
FIRST = "guidance.gamma"  # of several swept numbers, the one that the curves run over


Points = list[tuple[float, Mapping]]  # the swept number and the figures of each job


def curves(names: Sequence[str], results: Sequence[Mapping]):
    """A matplotlib figure, or None where no number was swept.

    Arguments:
        names: of the jobs, such as "guidance.gamma=5 sampler.steps=50".
        results: what the `metrics.json` of each holds.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    settings = [settings_of(name) for name in names]
    numbers = swept_numbers(settings)
    if not numbers:
        return None
    key = FIRST if FIRST in numbers else max(numbers, key=lambda name: numbers[name])
    lines: dict[str, Points] = {}
    for own, metrics in zip(settings, results, strict=True):
        rest = " ".join(f"{name}={value}" for name, value in own.items() if name != key)
        lines.setdefault(rest, []).append((float(own[key]), metrics))
    for points in lines.values():
        points.sort(key=lambda point: point[0])

    panels: list[Callable] = []
    shares = [share for each in results for share in each.get("alignment", {}).values()]
    if any(share is not None for share in shares):
        panels.append(draw_alignment)
    fidelity, diversity = first_of(FIDELITY, results), first_of(DIVERSITY, results)
    if fidelity:
        panels.append(functools.partial(draw_fidelity, name=fidelity))
    if diversity:
        panels.append(functools.partial(draw_diversity, name=diversity))
    if not panels:
        return None
    size = (4.2 * len(panels), 3.6)
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, sharex=True, squeeze=False, layout="constrained"
    )
    for axis, draw in zip(axes[0], panels, strict=True):
        draw(axis, lines)
    if panels[0] is not draw_alignment and len(lines) > 1:
        axes[0, 0].legend(fontsize=7, framealpha=0.6)
    xs = sorted({x for points in lines.values() for x, _ in points})
    for axis in axes[0]:
        scale_axis(axis, xs)
        axis.set_xlabel("γ" if key == FIRST else key)
        axis.grid(alpha=0.3)
    return figure


def settings_of(name: str) -> dict[str, str]:
    """{setting: its value} of a job's name."""
    return dict(word.partition("=")[::2] for word in name.split(" "))


def swept_numbers(settings: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """{setting: how many values it has} of those that are numbers and not the same in all jobs."""
    counts = {}
    for key in settings[0]:
        values = [own.get(key, "") for own in settings]
        if all(map(is_number, values)) and len(set(values)) > 1:
            counts[key] = len(set(values))
    return counts


def first_of(names: Sequence[str], results: Sequence[Mapping]) -> str | None:
    """The first figure that all jobs have."""
    for name in names:
        if all(metrics.get(name) is not None for metrics in results):
            return name
    return None


def draw_alignment(axis, lines: Mapping[str, Points]) -> None:
    """The share of samples that show what was asked for; of one line each attribute's too."""
    for rest, points in lines.items():
        if len(lines) == 1:
            for factor in factors(points[0][1]):
                share = functools.partial(alignment_of, factor=factor)
                line(axis, points, share, lw=1, ms=3, label=factor.replace("_", " "))
        line(
            axis,
            points,
            functools.partial(alignment_of, factor="all"),
            lambda metrics: metrics.get("alignment_all_interval"),
            lw=2,
            ms=4,
            label=rest or "all",
            **({"color": "black"} if len(lines) == 1 else {}),
        )
    axis.set(ylim=(-0.02, 1.02), ylabel="share of samples that show it")
    if axis.lines:
        axis.legend(fontsize=7, framealpha=0.6)


def alignment_of(metrics: Mapping, factor: str) -> float | None:
    return metrics.get("alignment", {}).get(factor)


def draw_fidelity(axis, lines: Mapping[str, Points], name: str) -> None:
    """A distance to real images."""
    for rest, points in lines.items():
        line(
            axis,
            points,
            lambda metrics: first(metrics[name]),
            lambda metrics: spread(metrics[name]),
            lw=2,
            ms=4,
            label=rest,
        )
    axis.set(ylabel=LABELS[name])


def draw_diversity(axis, lines: Mapping[str, Points], name: str) -> None:
    """The spread of samples of one prompt."""
    for rest, points in lines.items():
        line(
            axis,
            points,
            lambda metrics: metrics[name],
            lambda metrics: metrics.get(f"{name}_interval"),
            lw=2,
            ms=4,
            label=rest,
        )
    axis.set(ylabel=f"{name.replace('_', ' in ')}'s features")


def scale_axis(axis, xs: Sequence[float]) -> None:
    """An axis for numbers of several magnitudes, and zero."""
    least = min((abs(x) for x in xs if x), default=1.0)
    low, high = xs[0], xs[-1]
    axis.set_xscale("symlog", linthresh=least, linscale=0.4)
    axis.set_xlim(
        low - 0.15 * max(abs(low), least),
        high + 0.15 * max(abs(high), least),
    )
    if len(xs) <= 12:
        axis.set_xticks(xs, [f"{x:g}" for x in xs])
        axis.minorticks_off()


LABELS = {
    "fid": "FID",
    "frechet_imagenet": "Fréchet distance in ImageNet's features",
    "kernel_judge": "kernel distance in the judge's features,\n± one standard deviation",
    "frechet_judge": "Fréchet distance in the judge's features",
    "frechet_clip": "Fréchet distance in CLIP's features",
}


def factors(metrics: Mapping) -> list[str]:
    """The attributes that a run's samples were read for."""
    return [name for name in metrics.get("alignment", {}) if name != "all"]


def line(axis, points: Points, value: Callable, interval: Callable | None = None, **style) -> None:
    """One curve, with its intervals as a band where there are any."""
    measured = [(x, metrics) for x, metrics in points if value(metrics) is not None]
    if not measured:
        return
    xs = [x for x, _ in measured]
    (curve,) = axis.plot(xs, [value(metrics) for _, metrics in measured], marker="o", **style)
    bands = [interval(metrics) for _, metrics in measured] if interval else []
    if bands and all(bands):
        low, high = [band[0] for band in bands], [band[1] for band in bands]
        axis.fill_between(xs, low, high, color=curve.get_color(), alpha=0.15, lw=0)


def first(value) -> float:
    return value[0] if isinstance(value, (list, tuple)) else value


def spread(value) -> tuple[float, float] | None:
    """One deviation around a mean that comes with it."""
    return (value[0] - value[1], value[0] + value[1]) if isinstance(value, (list, tuple)) else None


def is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
