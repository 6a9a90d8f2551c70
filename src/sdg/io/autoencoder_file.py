"""What names an autoencoder and cannot be one, seen without torch."""

from pathlib import Path

from sdg.errors import UserError

__all__ = ["check_autoencoder_file", "no_autoencoder"]


def no_autoencoder(path: str | Path) -> UserError:
    """The error of a file or folder that holds none."""
    return UserError(
        f"{path} is no autoencoder. Give the folder that a training with encoder=autoencoder has "
        "left, one where diffusers has saved an AutoencoderKL, AutoencoderTiny or VQModel, or its "
        "owner/name on the hub."
    )


def check_autoencoder_file(path: str | Path, place: Path) -> None:
    """Refuses a file that is none of this project: diffusers writes folders.

    Arguments:
        path: as the user wrote it.
        place: where that is.

    Raises:
        UserError: it is one.
    """
    if place.is_file() and place.suffix != ".safetensors":
        raise no_autoencoder(path)
