"""Weights that an experiment of other people's models needs and that are not shipped."""

from hydra.core.hydra_config import HydraConfig

from sdg.errors import UserError
from sdg.io.hub import Absent
from sdg.io.shipped import CHECKOUT, CONF

__all__ = ["where_to_find"]


def where_to_find(error: Absent) -> UserError:
    """The error, with the experiment's file where that says what it needs."""
    experiment = external_experiment()
    if experiment is None:
        return error
    conf = CONF if CHECKOUT is None else CONF.name
    return UserError(
        f"{error} {conf}/experiment/{experiment}.yaml says what it needs and where that is found."
    )


def external_experiment() -> str | None:
    """The chosen experiment, if it needs files that are not shipped."""
    chosen = HydraConfig.get().runtime.choices.get("experiment")
    return chosen if chosen and str(chosen).startswith("paper_") else None
