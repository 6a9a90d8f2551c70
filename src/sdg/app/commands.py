"""`sdg-sample` and `sdg-train`, which `sample.py` and `train.py` of a checkout run too."""

from sdg.app.cli import entry_point

__all__ = ["sample", "train"]


@entry_point("sample")
def sample(config) -> None:
    from sdg.app.sample import sample

    sample(config)


@entry_point("train")
def train(config) -> None:
    from sdg.app.train import train

    train(config)
