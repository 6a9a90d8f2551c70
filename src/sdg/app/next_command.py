"""The command that draws samples with what a training has left."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sdg.app.denoiser_choice import autoencoder_path
from sdg.app.opening import group_choices, shell_command
from sdg.io.shipped import on_this_machine

__all__ = ["sampling_command"]

OF_TRAINING = ("batch_size", "captions", "crop", "flip", "hard_negatives", "masks", "num_workers")


def sampling_command(config: DictConfig, weights: Path) -> str:
    """The command that samples a denoiser, of the same data.

    It is unguided where the data has no encoder that is found without being named.

    Arguments:
        config: of the training.
        weights: the folder of the denoiser.
    """
    job, data = HydraConfig.get(), group_choices()["data"]
    words = [word for word in job.overrides.task if of_sampling(word)]
    if not any(word.startswith("data=") for word in words):  # an experiment or a default chose it
        words = [f"data={data}", *words]
    resolution = config.data.get("resolution")  # a data set of the user's own may have none
    if resolution and not any(word.startswith("data.resolution=") for word in words):
        words.append(f"data.resolution={resolution}")
    words.append(f"denoiser.weights={weights}")
    autoencoder = autoencoder_path(config)
    if autoencoder is not None:
        words += [f"denoiser.autoencoder={autoencoder}", "guidance.gamma=0"]
    elif on_this_machine(f"weights/{data}/clip_noisy.safetensors") is None:
        words.append("guidance.gamma=0")
    return shell_command("sample", words)


def of_sampling(word: str) -> bool:
    """Whether an override says which data it is, and not how a training takes it."""
    group, _, option = word.lstrip("+").partition("=")[0].partition(".")
    return group == "data" and option not in OF_TRAINING
