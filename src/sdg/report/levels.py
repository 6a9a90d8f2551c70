"""Curves over noise levels."""

from collections.abc import Mapping, Sequence

__all__ = ["levels_figure"]

PANELS = {
    "retrieval_top1": "noised image finds its own clean one",
    "cosine": "cosine to the clean image's embedding",
}


def levels_figure(rows: Sequence[Mapping], explained: Sequence[Mapping] = ()):
    """Retrieval and cosine over t, a curve for each encoder: a matplotlib figure.

    Arguments:
        explained: rows of how much of the denoiser's error each gradient explains; a third panel.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    count = 3 if explained else 2
    size = (4.5 * count, 3.4)
    figure, axes = plt.subplots(1, count, figsize=size, sharex=True, layout="constrained")
    for axis, (key, label) in zip(axes, PANELS.items(), strict=False):
        draw(axis, rows, key, label)
        axis.set(ylim=(min(0.0, *(row[key] for row in rows)) - 0.02, 1.02))
    if explained:
        draw(axes[2], explained, "explained", "denoiser's error that the gradient explains")
    return figure


def draw(axis, rows: Sequence[Mapping], key: str, label: str) -> None:
    """One panel, a curve for each encoder."""
    for name in dict.fromkeys(row["encoder"] for row in rows):
        own = [row for row in rows if row["encoder"] == name]
        axis.plot(
            [row["t"] for row in own], [row[key] for row in own], marker="o", ms=3, label=name
        )
    axis.set(xlabel="noise level t", ylabel=label)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
