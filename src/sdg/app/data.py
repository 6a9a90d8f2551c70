"""The data that a config chooses: the framework's, or the user's own."""

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from sdg.app.imported import imported
from sdg.app.making import parameters, without_options
from sdg.data.datamodule import ImageData
from sdg.data.own_data import as_data
from sdg.errors import UserError, near

__all__ = ["chosen_data"]

OF_TRAINING = ("batch_size", "captions", "masks", "seed", "size")  # set by conf/training
OF_LOADERS = ("held_out", "batch_size", "num_workers")  # of `DatasetData`, beside a Dataset's own


def chosen_data(config: DictConfig) -> ImageData:
    """The data module that `config.data` describes.

    What conf/training sets for every data set is left out where the user's class does not take it.

    Raises:
        UserError: it names no class, or an option that this does not take.
    """
    if "_target_" not in config.data:
        raise UserError(
            "data: its config names no _target_, the class of the data; docs/extending.md says "
            "what it takes."
        )
    taken = parameters(imported("data._target_", config.data._target_))
    others = [] if None in taken else [n for n in config.data if n not in (*taken, "_target_")]
    overridden = {word.partition("=")[0].lstrip("+") for word in HydraConfig.get().overrides.task}
    for name in others:
        if name not in OF_LOADERS and (name not in OF_TRAINING or f"data.{name}" in overridden):
            known = [*filter(None, taken), *OF_LOADERS]
            raise UserError(
                f"data.{name}: {config.data._target_} has no such option{near(name, known) or '.'}"
            )
    loading = {name: config.data[name] for name in others if name in OF_LOADERS}
    return as_data(instantiate(without_options(config.data, *others)), **loading)
