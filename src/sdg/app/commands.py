"""`sdg-sample`, `sdg-train` (`sample.py` and `train.py` of a checkout) and `sdg-checkpoints`.

A signal must find its handler: what is slow to import comes after it.
"""

from sdg.app.importing import quick_imports, starts_quickly, without_collector
from sdg.app.stopping import stoppable

__all__ = ["checkpoints", "sample", "train"]


def sample() -> None:
    with stoppable(), without_collector():
        from sdg.app.cli import entry_point

        entry_point("sample")(draw)()


def train() -> None:
    with stoppable(), without_collector():
        from sdg.app.cli import entry_point

        entry_point("train")(learn)()


def checkpoints() -> None:
    with quick_imports(compiler=False):
        from sdg.app.checkpoints import main

    main()


def draw(config) -> None:
    from sdg.app.finished import has_own_code, show_finished

    if starts_quickly() and show_finished(config):
        return
    with quick_imports(compiler=config.compile, transformers=has_own_code(config)):
        from sdg.app.sample import sample

    sample(config)


def learn(config) -> None:
    from sdg.app.finished import has_own_code

    with quick_imports(compiler=True, transformers=has_own_code(config)):
        from sdg.app.train import train

    train(config)
