"""The command that does something with what a training has left."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sdg.app.denoiser_choice import autoencoder_path
from sdg.app.opening import group_choices, shell_command
from sdg.io.hub import located
from sdg.io.shipped import on_this_machine
from sdg.io.weights import header

__all__ = ["next_step"]

OF_PARTS = ("batch_size", "captions", "hard_negatives", "masks")  # what one training takes of data
OF_TRAINING = (*OF_PARTS, "crop", "flip", "num_workers")
RENDERED = ("sdg.data.portraits_data.PortraitsData", "sdg.data.shapes_data.ShapesData")


def next_step(config: DictConfig, weights: Path) -> str | None:
    """A line with the command that comes next, on the same data; None where none is known.

    Capitals in it stand for what only the user knows.

    Arguments:
        config: of the training.
        weights: the folder that it has left.
    """
    if config.kind == "denoiser":
        return f"sample it: {sampling_command(config, weights)}"
    if config.kind == "autoencoder":
        words = [*data_words(config, OF_PARTS), f"denoiser.autoencoder={weights}"]
        return f"train a denoiser of its latents: {shell_command('train', words)}"
    if config.kind == "clip_noisy":
        return f"sample with it: {guided_command(config, weights)}"
    return None


def sampling_command(config: DictConfig, weights: Path) -> str:
    """The command that samples a denoiser.

    It is unguided where the data has no encoder that is found without being named.
    """
    words = [*data_words(config, OF_TRAINING), f"denoiser.weights={weights}"]
    autoencoder = autoencoder_path(config)
    if autoencoder is not None:
        words += [f"denoiser.autoencoder={autoencoder}", "guidance.gamma=0"]
    elif own("clip_noisy") is None:
        words.append("guidance.gamma=0")
    return shell_command("sample", words)


def guided_command(config: DictConfig, weights: Path) -> str:
    """The command that samples with a noise-aware encoder, beside the denoiser of its training."""
    words = [
        *data_words(config, OF_TRAINING),
        *denoiser_words(config),
        f"encoder.weights={weights}",
    ]
    encoder, clip = config.encoder, own("clip")
    if encoder.name is not None:
        words += [f"encoder.name={encoder.name}", f"encoder.pretrained={encoder.pretrained}"]
    elif encoder.clip != clip:
        words.append(f"encoder.clip={encoder.clip}")
    if clip is None:
        words.append(f"eval.clip={'null' if encoder.name is not None else encoder.clip}")
    if config.data.get("_target_") not in RENDERED:  # whose held-out captions are prompts
        words.append("prompt=SENTENCE")
    return shell_command("sample", words)


def denoiser_words(config: DictConfig) -> list[str]:
    """Which denoiser an encoder guides: that of its training, else the data's own."""
    module, usual = config.module, own("denoiser")
    latents = module.get("autoencoder")
    path = module.get("denoiser") or (usual if latents is None else None) or "DENOISER"
    words = [] if path == usual else [f"denoiser.weights={path}"]
    if module.get("denoiser") and header(located(path)) is None:  # somebody else's
        words = ["denoiser=pretrained", f"denoiser.path={path}"]
    return words if latents is None else [*words, f"denoiser.autoencoder={latents}"]


def data_words(config: DictConfig, omitted: tuple[str, ...]) -> list[str]:
    """The words of the command line that say which data it was.

    Arguments:
        omitted: settings of `data` that are left out.
    """
    words = [word for word in HydraConfig.get().overrides.task if is_of_data(word, omitted)]
    if not any(word.startswith("data=") for word in words):  # an experiment or a default chose it
        words = [f"data={group_choices()['data']}", *words]
    resolution = config.data.get("resolution")  # a data set of the user's own may have none
    if resolution and not any(word.startswith("data.resolution=") for word in words):
        words.append(f"data.resolution={resolution}")
    return words


def is_of_data(word: str, omitted: tuple[str, ...]) -> bool:
    """Whether an override says which data it is, and not how a training takes it."""
    group, _, option = word.lstrip("+").partition("=")[0].partition(".")
    return group == "data" and option not in omitted


def own(part: str) -> str | None:
    """The weights that the data has of a part, without being named; None where it has none."""
    path = f"weights/{group_choices()['data']}/{part}.safetensors"
    return None if on_this_machine(path) is None else path
