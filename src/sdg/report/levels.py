"""Curves over noise levels."""

from collections.abc import Mapping, Sequence

__all__ = ["levels_figure"]


def levels_figure(rows: Sequence[Mapping]):
    """Retrieval and cosine over t, a curve for each encoder: a matplotlib figure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharex=True, layout="constrained")
    for axis, key, said in zip(axes, ("retrieval_top1", "cosine"), ("noised image finds its own clean one", "cosine to the clean image's embedding")):
        for name in dict.fromkeys(row["encoder"] for row in rows):
            own = [row for row in rows if row["encoder"] == name]
            axis.plot([row["t"] for row in own], [row[key] for row in own], marker="o", ms=3, label=name)
        axis.set(xlabel="noise level t", ylabel=said, ylim=(min(0.0, *(row[key] for row in rows)) - 0.02, 1.02))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure
