"""Networks of others, which measure a run, from their published files."""

from pathlib import Path

from sdg.errors import UserError, first_line
from sdg.io.pretrained import tensors_of
from sdg.io.published_files import ALEXNET, INCEPTION, inception_path, published_file
from sdg.metrics.inception import Inception
from sdg.metrics.perceptual import Perceptual

__all__ = ["inception_file", "inception_of", "lpips"]


def inception_file(weights: str) -> Path:
    """The file that `eval.inception` asks for: its path, or "download" for the published one.

    Raises:
        UserError: it is missing, cannot be fetched, or what is in the cache is another.
    """
    if weights == "download":
        return published_file(INCEPTION, "eval.inception=download", "eval.inception=FILE")
    return inception_path(weights)


def inception_of(file: Path) -> Inception:
    """Inception-v3 with the weights of a file, read without running code.

    Raises:
        UserError: the file is damaged, of another network, or needs code to be read.
    """
    tensors = tensors_of(file)
    try:
        return Inception(tensors)
    except RuntimeError as error:  # of `load_state_dict`
        raise UserError(
            f"eval.inception: {file} does not hold torch-fidelity's Inception-v3 "
            f"({first_line(error)})."
        ) from error


def lpips() -> Perceptual:
    """LPIPS with torchvision's AlexNet.

    Raises:
        UserError: its weights cannot be fetched, or what is in the cache is another file.
    """
    file = published_file(ALEXNET, "eval.lpips=true", "eval.lpips=false")
    return Perceptual(tensors_of(file))
