"""Any file that holds a denoiser, to what our own files hold.

That is a config that rebuilds it, and tensors.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sdg.errors import UserError
from sdg.io.adm_file import ASKED, from_adm
from sdg.io.denoiser_file import DenoiserFile, MissingSettings
from sdg.io.diffusers_folder import PREDICTIONS, from_diffusers
from sdg.io.hub import located
from sdg.io.tensors import load_tensors
from sdg.io.weights import header, read_weights

__all__ = [
    "ASKED",
    "PREDICTIONS",
    "DenoiserFile",
    "MissingSettings",
    "open_denoiser",
    "tensors_of",
]

# Under these names training scripts keep the weights.
WRAPPERS = ("ema", "model_ema", "state_dict", "model")


def open_denoiser(path: str | Path, asked: Mapping | None = None) -> DenoiserFile:
    """Reads a denoiser, of this project or of others.

    It is our own safetensors or folder, a diffusers folder, the name of either on the hub, or an
    ADM .pt or .safetensors.

    Arguments:
        path: of the file or folder, or `owner/name` on the Hugging Face hub.
        asked: of `ASKED`, what the user says of an ADM file; it goes before what its family says.
            None is left to the file.

    Raises:
        UserError: nothing is there, it is damaged, it is none of these, or what it cannot tell is
            not known.
    """
    given = {name: value for name, value in (asked or {}).items() if value is not None}
    place = located(path)
    ours = header(place) is not None
    if place.is_file() and not ours:
        return from_adm(tensors_of(place), given, str(path))
    if given:
        settings = ", ".join(f"denoiser.{name}" for name in given)
        raise UserError(f"{path} holds all settings; leave out {settings}.")
    if not ours:
        return from_diffusers(place)
    config, tensors = read_weights(place, "denoiser")
    kind = f"a {'folder' if place.is_dir() else 'file'} of this project"
    return DenoiserFile(str(path), config, tensors, kind, {})


def tensors_of(file: Path) -> dict[str, Tensor]:
    """The tensors of somebody else's .safetensors, or of a pickle.

    A pickle is read without running code.
    """
    if file.suffix == ".safetensors":
        header(file)  # says what is damaged
        return load_tensors(file)
    content = load_tensors(file)
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise UserError(f"{file} holds no state dict, names with a tensor each.")
    return {name.removeprefix("module."): value for name, value in content.items()}
