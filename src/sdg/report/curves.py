"""Alignment, fidelity and diversity over a swept number, with intervals."""

from collections.abc import Mapping, Sequence

__all__ = ["curves"]

# The first that all jobs have.
FIDELITY = ("fid", "frechet_imagenet", "kernel_judge", "frechet_judge", "frechet_clip")
DIVERSITY = ("diversity_judge", "diversity_clip", "diversity_inception")
FIRST = "guidance.gamma"  # of several swept numbers, the one that the curves run over


def curves(names: Sequence[str], found: Sequence[Mapping]):
    """A matplotlib figure, or None where no number was swept.

    Arguments:
        names: of the jobs, such as "guidance.gamma=5 sampler.steps=50".
        found: what the `metrics.json` of each holds.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    said = [dict(word.partition("=")[::2] for word in name.split(" ")) for name in names]
    numbers = [
        key
        for key in said[0]
        if all(is_number(words.get(key, "")) for words in said)
        and len({words[key] for words in said}) > 1
    ]
    if not numbers:
        return None
    key = (
        FIRST
        if FIRST in numbers
        else max(numbers, key=lambda number: len({words[number] for words in said}))
    )
    lines: dict[str, list[tuple[float, Mapping]]] = {}
    for words, metrics in zip(said, found, strict=True):
        rest = " ".join(f"{name}={value}" for name, value in words.items() if name != key)
        lines.setdefault(rest, []).append((float(words[key]), metrics))

    every = [metrics for points in lines.values() for _, metrics in points]
    fidelity, diversity = (
        next((name for name in names if all(m.get(name) is not None for m in every)), None)
        for names in (FIDELITY, DIVERSITY)
    )
    panels = [
        name
        for name, there in (
            ("left", any(m.get("alignment") for m in every)),
            ("middle", fidelity),
            ("right", diversity),
        )
        if there
    ]
    if not panels:
        return None
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(4.2 * len(panels), 3.6),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    left, middle, right = (
        dict(zip(panels, axes[0], strict=True)).get(name) for name in ("left", "middle", "right")
    )
    for rest, points in lines.items():
        points.sort(key=lambda point: point[0])
        if left and len(lines) == 1:
            for factor in factors(points[0][1]):
                line(
                    left,
                    points,
                    lambda m, factor=factor: m.get("alignment", {}).get(factor),
                    lw=1,
                    ms=3,
                    label=factor,
                )
        if left:
            line(
                left,
                points,
                lambda m: m.get("alignment", {}).get("all"),
                lambda m: m.get("alignment_all_interval"),
                lw=2,
                ms=4,
                label=rest or "all",
                **({"color": "black"} if len(lines) == 1 else {}),
            )
        if fidelity:
            line(
                middle,
                points,
                lambda m: first(m[fidelity]),
                lambda m: spread(m[fidelity]),
                lw=2,
                ms=4,
                label=rest,
            )
            middle.set(ylabel=SAID[fidelity])
        if diversity:
            line(
                right,
                points,
                lambda m: m[diversity],
                lambda m: m.get(f"{diversity}_interval"),
                lw=2,
                ms=4,
                label=rest,
            )
            right.set(ylabel=f"{diversity.replace('_', ' in ')}'s features")
    if left:
        left.set(ylim=(-0.02, 1.02), ylabel="share of samples that show it")
        if left.lines:
            left.legend(fontsize=7, framealpha=0.6)
    elif len(lines) > 1:
        axes[0, 0].legend(fontsize=7, framealpha=0.6)
    xs = sorted({x for points in lines.values() for x, _ in points})
    least = min((abs(x) for x in xs if x), default=1.0)
    for axis in axes[0]:
        axis.set_xscale("symlog", linthresh=least, linscale=0.4)
        axis.set_xlim(
            *(edge + way * 0.15 * max(abs(edge), least) for edge, way in ((xs[0], -1), (xs[-1], 1)))
        )
        if len(xs) <= 12:
            axis.set_xticks(xs, [f"{x:g}" for x in xs])
            axis.minorticks_off()
        axis.set_xlabel("γ" if key == FIRST else key)
        axis.grid(alpha=0.3)
    return figure


SAID = {
    "fid": "FID",
    "frechet_imagenet": "Fréchet distance in ImageNet's features",
    "kernel_judge": "kernel distance in the judge's features",
    "frechet_judge": "Fréchet distance in the judge's features",
    "frechet_clip": "Fréchet distance in CLIP's features",
}


def factors(metrics: Mapping) -> list[str]:
    """The attributes that a run's samples were read for."""
    return [name for name in metrics.get("alignment", {}) if name != "all"]


def line(axis, points, value, interval=None, **style) -> None:
    """One curve, with its intervals as a band where there are any."""
    there = [
        (x, value(m), interval(m) if interval else None) for x, m in points if value(m) is not None
    ]
    if not there:
        return
    (drawn,) = axis.plot([x for x, *_ in there], [y for _, y, _ in there], marker="o", **style)
    if all(band for *_, band in there):
        axis.fill_between(
            [x for x, *_ in there],
            [band[0] for *_, band in there],
            [band[1] for *_, band in there],
            color=drawn.get_color(),
            alpha=0.15,
            lw=0,
        )


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
