"""Any file that holds a denoiser, to what our own files hold.

That is a config that rebuilds it, and tensors.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sdg.errors import UserError
from sdg.io.adm_file import ASKED as OF_ADM
from sdg.io.adm_file import from_adm
from sdg.io.denoiser_file import DenoiserFile, MissingSettings
from sdg.io.diffusers_folder import from_diffusers
from sdg.io.diffusers_scheduler import PREDICTIONS
from sdg.io.dit_file import from_dit, is_dit
from sdg.io.edm2_file import from_edm2, is_edm2
from sdg.io.edm_file import from_edm, is_edm
from sdg.io.hub import located
from sdg.io.jit_file import from_jit, is_jit
from sdg.io.tensors import load_tensors
from sdg.io.text_folder import PROMPTS, from_text_folder, is_text_folder
from sdg.io.v_diffusion_file import from_v_diffusion, is_v_diffusion
from sdg.io.weights import header, read_weights

__all__ = [
    "ASKED",
    "PREDICTIONS",
    "PROMPTS",
    "DenoiserFile",
    "MissingSettings",
    "is_foreign",
    "open_denoiser",
    "tensors_of",
]

ASKED = (*OF_ADM, "family")  # what a user may set of somebody else's state dict
# Under these names training scripts keep the weights.
WRAPPERS = ("ema", "model_ema", "model_ema1", "state_dict", "model")
# Who knows a state dict by its names, and who reads it; ADM's is what no other one knows.
READERS = (
    (is_dit, from_dit),
    (is_edm, from_edm),
    (is_edm2, from_edm2),
    (is_jit, from_jit),
    (is_v_diffusion, from_v_diffusion),
)


def open_denoiser(path: str | Path, asked: Mapping | None = None) -> DenoiserFile:
    """Reads a denoiser, of this project or of others.

    It is our own safetensors or folder, a diffusers folder, of Stable Diffusion too, the name of
    either on the hub, or a .pt or .safetensors of a family that is known here.

    Arguments:
        path: of the file or folder, or `owner/name` on the Hugging Face hub.
        asked: of `ASKED`, what the user says of such a file; it goes before what its family says.
            None is left to the file. Of `PROMPTS`, what a network of text is conditioned on.

    Raises:
        UserError: nothing is there, it is damaged, it is none of these, or what it cannot tell is
            not known.
    """
    given = {name: value for name, value in (asked or {}).items() if value is not None}
    prompts = {name: given.pop(name) for name in PROMPTS if name in given}
    place = located(path)
    if is_text_folder(place):
        refuse_settings(path, given)
        return from_text_folder(place, prompts, str(path))
    for name in prompts:
        raise UserError(f"{name}: {path} {why_no_prompt(place)}", name)
    ours = header(place) is not None
    if is_foreign(place):
        return from_state_dict(tensors_of(place), given, str(path))
    refuse_settings(path, given)
    if not ours:
        return from_diffusers(place)
    config, tensors = read_weights(place, "denoiser")
    kind = f"a {'folder' if place.is_dir() else 'file'} of this project"
    return DenoiserFile(str(path), config, tensors, kind, {})


def why_no_prompt(place: Path) -> str:
    """What to say of a prompt for a file that is no folder of Stable Diffusion."""
    config = (header(place) or {}).get("config") or {}
    if config.get("denoiser", {}).get("architecture") == "text_unet":
        return (
            "holds its prompt, which was embedded when it was converted; leave this one out, or "
            "convert the folder of diffusers anew with it."
        )
    return "holds no network that is conditioned on a sentence; leave it out."


def refuse_settings(path: str | Path, given: Mapping) -> None:
    """Raises a `UserError` for settings of a file that holds them all."""
    if given:
        raise UserError(f"{path} holds all settings; leave out {', '.join(given)}.")


def is_foreign(path: str | Path) -> bool:
    """Whether a path is a state dict of somebody else's, of which a user may have to say more."""
    place = located(path)
    return place.is_file() and header(place) is None


def from_state_dict(tensors: Mapping[str, Tensor], given: Mapping, path: str) -> DenoiserFile:
    """The denoiser of a state dict, by the reader that knows its names.

    Arguments:
        tensors: under the file's names.
        given: of `ASKED`, what the user says.
        path: of the file, for messages.
    """
    for knows, reader in READERS:
        if knows(tensors):
            return reader(tensors, given, path)
    if "family" in given:
        raise UserError(f"{path} is of no family that shares its layout; leave family out.")
    return from_adm(tensors, given, path)


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
