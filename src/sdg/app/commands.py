"""`sdg-sample` and `sdg-train`, which `sample.py` and `train.py` of a checkout run too.

A signal must find its handler: what is slow to import comes after it.
"""

from sdg.app.stopping import stoppable

__all__ = ["sample", "train"]


def sample() -> None:
    with stoppable():
        from sdg.app.cli import entry_point

        entry_point("sample")(draw)()


def train() -> None:
    with stoppable():
        from sdg.app.cli import entry_point

        entry_point("train")(learn)()


def draw(config) -> None:
    from sdg.app.importing import without_wandb

    with without_wandb():
        from sdg.app.sample import sample

    sample(config)


def learn(config) -> None:
    from sdg.app.importing import without_wandb

    with without_wandb():
        from sdg.app.train import train

    train(config)
